"""The full lattice: every path walked, gradients, padding, empty transcripts, wrong input."""

from __future__ import annotations

import pytest
import torch
from lattices import by_enumeration, paths, random
from torch import Tensor

from espnet_kd.losses import LossInputError
from espnet_kd.losses.transducer import mutual_information_recursion, rnnt_loss
from espnet_kd.losses.transducer.lattice import RNNT_TYPES

FRAMES, SYMBOLS, VOCABULARY = 5, 3, 6
TRANSCRIPTS = torch.tensor([[1, 5, 5], [2, 3, -1], [-1, -1, -1], [4, 4, 4]])
BOUNDARY = torch.tensor([[0, 0, 3, 5], [0, 0, 2, 4], [0, 0, 0, 3], [0, 0, 3, 3]])


def batch(dtype: torch.dtype = torch.float64) -> Tensor:
    return random(4, FRAMES, SYMBOLS + 1, VOCABULARY, dtype=dtype)


def test_the_oracle_walks_every_path() -> None:
    """Binomial coefficients: 3 symbols and 5 frames, the last arc being a blank."""
    assert len(paths(3, 5, "regular")) == 35
    assert len(paths(3, 5, "modified")) == 10


@pytest.mark.parametrize("rnnt_type", RNNT_TYPES)
@pytest.mark.parametrize("delay_penalty", [0.0, 0.3])
def test_equals_the_sum_over_paths(rnnt_type: str, delay_penalty: float) -> None:
    logits = batch()
    found = rnnt_loss(
        logits, TRANSCRIPTS, boundary=BOUNDARY, rnnt_type=rnnt_type, delay_penalty=delay_penalty,
        reduction="none",
    )  # fmt: skip
    expected = [
        by_enumeration(
            logits[row, :frames, : symbols + 1], TRANSCRIPTS[row, :symbols].tolist(),
            rnnt_type=rnnt_type, delay_penalty=delay_penalty,
        )
        for row, (_, _, symbols, frames) in enumerate(BOUNDARY.tolist())
    ]  # fmt: skip
    torch.testing.assert_close(found, torch.stack(expected))


@pytest.mark.parametrize("rnnt_type", RNNT_TYPES)
def test_gradients(rnnt_type: str) -> None:
    logits = batch().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: rnnt_loss(
            x, TRANSCRIPTS, boundary=BOUNDARY, rnnt_type=rnnt_type, reduction="none"
        ),
        (logits,),
        fast_mode=True,
    )


def test_gradients_equal_those_of_the_sum_over_paths() -> None:
    logits = batch()[:1].requires_grad_()
    (found,) = torch.autograd.grad(rnnt_loss(logits, TRANSCRIPTS[:1], 2), logits)
    loss = by_enumeration(logits[0], TRANSCRIPTS[0].tolist(), blank=2)
    (expected,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(found, expected)


def test_padding_changes_nothing_and_gets_no_gradient() -> None:
    logits = batch()
    logits[1, 4:] = logits[1, :, 3:] = float("inf")  # as bad as padding can be, but NaN
    logits[1, 4:, :, 1] = logits[1, :, 3:, 1] = 0
    logits = logits.nan_to_num(posinf=1e30).requires_grad_()
    alone = rnnt_loss(logits[1:2, :4, :3], TRANSCRIPTS[1:2, :2], reduction="none")
    together = rnnt_loss(logits, TRANSCRIPTS, boundary=BOUNDARY, reduction="none")
    torch.testing.assert_close(together[1:2], alone)
    (grad,) = torch.autograd.grad(together.sum(), logits)
    assert grad[1, :4, :3].abs().sum() > 0
    assert not grad[1, 4:].any()
    assert not grad[1, :, 3:].any()


def test_an_empty_transcript_is_all_blanks() -> None:
    logits = batch()[:, :, :1]
    none = torch.zeros(4, 0, dtype=torch.int64)
    for rnnt_type in RNNT_TYPES:
        found = rnnt_loss(logits, none, rnnt_type=rnnt_type, reduction="none")
        torch.testing.assert_close(found, -logits.log_softmax(-1)[:, :, 0, 0].sum(dim=1))


def test_reductions() -> None:
    logits = batch()
    each = rnnt_loss(logits, TRANSCRIPTS, boundary=BOUNDARY, reduction="none")
    for reduction, expected in (("sum", each.sum()), ("mean", each.mean())):
        found = rnnt_loss(logits, TRANSCRIPTS, boundary=BOUNDARY, reduction=reduction)
        torch.testing.assert_close(found, expected)
    assert torch.equal(rnnt_loss(logits, TRANSCRIPTS, boundary=BOUNDARY), each.mean())


def test_half_precision_and_autocast_are_computed_in_float32() -> None:
    logits = batch(torch.float32)
    for dtype in (torch.bfloat16, torch.float16):
        half = logits.to(dtype).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            loss = rnnt_loss(half, TRANSCRIPTS, boundary=BOUNDARY)
        full = half.detach().float().requires_grad_()
        expected = rnnt_loss(full, TRANSCRIPTS, boundary=BOUNDARY)
        assert loss.dtype == torch.float32
        torch.testing.assert_close(loss, expected)
        (grad,) = torch.autograd.grad(loss, half)
        (grad_full,) = torch.autograd.grad(expected, full)
        assert grad.dtype == dtype
        torch.testing.assert_close(grad, grad_full.to(dtype))


def test_a_long_utterance_stays_exact() -> None:
    """Thousands of nats: in float32 as in float64."""
    logits = 10 * random(1, 300, 41, 20)
    symbols = torch.randint(1, 20, (1, 40), generator=torch.Generator().manual_seed(0))
    exact, rough = logits.clone().requires_grad_(), logits.float().requires_grad_()
    loss, loss_rough = rnnt_loss(exact, symbols), rnnt_loss(rough, symbols)
    assert loss > 2000
    torch.testing.assert_close(loss_rough.double(), loss, rtol=1e-6, atol=0)
    (grad,), (grad_rough,) = (
        torch.autograd.grad(loss, exact),
        torch.autograd.grad(loss_rough, rough),
    )
    torch.testing.assert_close(grad_rough.double(), grad, rtol=0, atol=1e-4)


def test_blocks_of_memory_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from espnet_kd.losses.transducer import arcs

    def loss_and_gradient() -> tuple[Tensor, Tensor]:
        logits = batch().requires_grad_()
        loss = rnnt_loss(logits, TRANSCRIPTS, boundary=BOUNDARY)
        return loss, torch.autograd.grad(loss, logits)[0]

    expected = loss_and_gradient()
    for size in (1, 7 * VOCABULARY):
        monkeypatch.setitem(arcs.BLOCK, "cpu", size)
        for found, wanted in zip(loss_and_gradient(), expected, strict=True):
            torch.testing.assert_close(found, wanted)


def test_no_path_is_an_infinite_loss_without_gradient() -> None:
    logits = batch().requires_grad_()
    short = torch.tensor([[0, 0, 3, 2]]).expand(4, 4)
    loss = rnnt_loss(
        logits, TRANSCRIPTS.clamp(min=1), boundary=short, rnnt_type="modified", reduction="none"
    )
    assert torch.equal(loss, torch.full((4,), float("inf"), dtype=torch.float64))
    (grad,) = torch.autograd.grad(loss.sum(), logits)
    assert not grad.any()


def test_nan_is_not_hidden() -> None:
    logits = batch()
    logits[0, 0, 0, 0] = float("nan")
    loss = rnnt_loss(logits, TRANSCRIPTS, boundary=BOUNDARY, reduction="none")
    assert torch.isnan(loss).tolist() == [True, False, False, False]


def test_occupancies_of_the_recursion() -> None:
    """Each frame is left by one blank, each symbol is written once."""
    px, py = random(2, SYMBOLS, FRAMES + 1), random(2, SYMBOLS + 1, FRAMES, seed=1)
    px[:, :, FRAMES] = float("-inf")
    score, px_grad, py_grad = mutual_information_recursion(px, py)
    assert score.shape == (2,)
    assert not px_grad.requires_grad
    torch.testing.assert_close(py_grad.sum(dim=1), torch.ones(2, FRAMES, dtype=torch.float64))
    torch.testing.assert_close(px_grad.sum(dim=2), torch.ones(2, SYMBOLS, dtype=torch.float64))


def with_row(row: list[int]) -> Tensor:
    rows = BOUNDARY.clone()
    rows[2] = torch.tensor(row)
    return rows


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"symbols_BS": TRANSCRIPTS.clone().fill_(6)},
            r"utterance 0 .* label 6 at place 0 .* 0..5",
        ),
        ({"symbols_BS": -TRANSCRIPTS.abs()}, "label -1 at place 0"),
        ({"symbols_BS": TRANSCRIPTS.float()}, "whole numbers"),
        ({"symbols_BS": TRANSCRIPTS[:, 0]}, "whole numbers"),
        ({"symbols_BS": TRANSCRIPTS.abs()[:, :2], "boundary": None}, "logits"),
        ({"boundary": with_row([0, 0, 4, 3])}, r"utterance 2 .*\[0, 0, 4, 3\].*subsampling"),
        ({"boundary": with_row([0, 0, 1, 6])}, "utterance 2"),
        ({"boundary": with_row([0, 0, 1, 0])}, "utterance 2"),
        ({"boundary": with_row([0, 0, -1, 3])}, "utterance 2"),
        ({"boundary": with_row([0, 1, 1, 3])}, "utterance 2.* begins must be 0"),
        ({"boundary": BOUNDARY[:2]}, "one row"),
        ({"logits_BTUV": batch()[..., 0]}, r"must have the shape \(batch, frames, states, voc"),
        ({"logits_BTUV": batch()[:, :, 1:]}, "logits: .*4, 5, 3, 6.* = .4, 5, 4, 6"),
        ({"logits_BTUV": batch().long()}, "floating-point"),
        ({"termination_symbol": 6}, "blank is 6"),
        ({"rnnt_type": "monotonic"}, "monotonic"),
        ({"reduction": "median"}, "median"),
    ],
)
def test_wrong_input_is_one_clear_error(changes: dict[str, object], message: str) -> None:
    arguments = {"logits_BTUV": batch(), "symbols_BS": TRANSCRIPTS, "boundary": BOUNDARY}
    with pytest.raises(LossInputError, match=message):
        rnnt_loss(**{**arguments, **changes})  # type: ignore[arg-type]
