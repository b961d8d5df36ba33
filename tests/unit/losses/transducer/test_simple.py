"""The simple lattice: the full one of am + lm, smoothing by its formula, gradients, wrong input."""

from __future__ import annotations

import pytest
import torch
from lattices import random
from torch import Tensor

from espnet_kd.losses import LossInputError
from espnet_kd.losses.transducer import rnnt_loss, rnnt_loss_simple, rnnt_loss_smoothed
from espnet_kd.losses.transducer.lattice import RNNT_TYPES

FRAMES, SYMBOLS, VOCABULARY = 6, 3, 5
TRANSCRIPTS = torch.tensor([[1, 4, 4], [2, -1, -1], [-1, -1, -1]])
BOUNDARY = torch.tensor([[0, 0, 3, 6], [0, 0, 1, 4], [0, 0, 0, 5]])


def models(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    lm = random(3, SYMBOLS + 1, VOCABULARY, dtype=dtype)
    return lm, random(3, FRAMES, VOCABULARY, seed=1, dtype=dtype)


@pytest.mark.parametrize("rnnt_type", RNNT_TYPES)
def test_is_the_full_lattice_of_the_sum(rnnt_type: str) -> None:
    lm, am = (x.requires_grad_() for x in models())
    options = {
        "boundary": BOUNDARY, "rnnt_type": rnnt_type, "delay_penalty": 0.2, "reduction": "none"
    }  # fmt: skip
    simple = rnnt_loss_simple(lm, am, TRANSCRIPTS, 3, **options)
    full = rnnt_loss(am[:, :, None] + lm[:, None], TRANSCRIPTS, 3, **options)
    torch.testing.assert_close(simple.loss, full)
    found = torch.autograd.grad(simple.loss.sum(), (lm, am))
    expected = torch.autograd.grad(full.sum(), (lm, am))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_lm_alone_is_the_full_lattice_of_lm() -> None:
    lm, am = models()
    loss = rnnt_loss_smoothed(
        lm, am, TRANSCRIPTS, lm_only_scale=1.0, am_only_scale=0.0, boundary=BOUNDARY
    ).loss
    alone = rnnt_loss(lm[:, None].expand(-1, FRAMES, -1, -1), TRANSCRIPTS, boundary=BOUNDARY)
    torch.testing.assert_close(loss, alone)


def test_am_alone_has_the_mean_of_softmax_for_lm() -> None:
    lm, am = models()
    loss = rnnt_loss_smoothed(
        lm, am, TRANSCRIPTS, lm_only_scale=0.0, am_only_scale=1.0, boundary=BOUNDARY
    ).loss
    unigram = lm.softmax(dim=-1).mean(dim=(0, 1)).log()
    alone = rnnt_loss_simple(unigram.expand_as(lm), am, TRANSCRIPTS, boundary=BOUNDARY).loss
    torch.testing.assert_close(loss, alone)


@pytest.mark.parametrize("rnnt_type", RNNT_TYPES)
def test_gradients_of_the_mixture(rnnt_type: str) -> None:
    def loss(lm: Tensor, am: Tensor) -> Tensor:
        return rnnt_loss_smoothed(
            lm, am, TRANSCRIPTS, lm_only_scale=0.25, am_only_scale=0.1, boundary=BOUNDARY,
            rnnt_type=rnnt_type,
        ).loss  # fmt: skip

    lm, am = (x.requires_grad_() for x in models())
    assert torch.autograd.gradcheck(loss, (lm, am), fast_mode=True)


def test_occupancies_count_symbols_and_frames() -> None:
    lm, am = models()
    found = rnnt_loss_smoothed(lm, am, TRANSCRIPTS, boundary=BOUNDARY)
    assert found.px_grad.shape == (3, SYMBOLS, FRAMES + 1)
    torch.testing.assert_close(found.px_grad.sum(dim=(1, 2)), BOUNDARY[:, 2].double())
    torch.testing.assert_close(found.py_grad.sum(dim=(1, 2)), BOUNDARY[:, 3].double())
    assert not found.px_grad.requires_grad


def test_half_precision_is_computed_in_float32() -> None:
    lm, am = (x.bfloat16() for x in models())
    with torch.autocast("cpu", torch.bfloat16):
        found = rnnt_loss_smoothed(lm, am, TRANSCRIPTS, boundary=BOUNDARY)
    expected = rnnt_loss_smoothed(lm.float(), am.float(), TRANSCRIPTS, boundary=BOUNDARY)
    assert found.loss.dtype == torch.float32
    torch.testing.assert_close(found.loss, expected.loss)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"am_BTV": models()[1][0]}, "shapes .batch, frames, vocabulary"),
        ({"lm_BUV": models()[0][:, 1:]}, "lm: .*3, 3, 5.* = .3, 4, 5"),
        ({"lm_BUV": models()[0][..., 1:]}, "lm: "),
        ({"am_BTV": models()[1][:2]}, "am: "),
        ({"lm_only_scale": 0.7, "am_only_scale": 0.4}, "above 1"),
        ({"lm_only_scale": -0.1}, "negative"),
        ({"symbols_BS": TRANSCRIPTS + 1}, "label 5"),
    ],
)
def test_wrong_input_is_one_clear_error(changes: dict[str, object], message: str) -> None:
    lm, am = models()
    arguments = {"lm_BUV": lm, "am_BTV": am, "symbols_BS": TRANSCRIPTS, "boundary": BOUNDARY}
    with pytest.raises(LossInputError, match=message):
        rnnt_loss_smoothed(**{**arguments, **changes})  # type: ignore[arg-type]
