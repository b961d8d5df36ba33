"""Masking distillation: values by hand, gradients, padding and errors."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from espnet_kd.errors import ConfigError, KDError
from espnet_kd.losses import MaskingDistillLoss

B, T, D, N = 3, 7, 5, 4


def _random(seed: int, *, batch: int = B, frames: int = T) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, frames, D, generator=generator) for _ in range(N)]


def _mask() -> Tensor:
    return torch.rand(B, T, generator=torch.Generator().manual_seed(9)) < 0.5


def _direct(
    p: list[Tensor], u: list[Tensor], m: list[Tensor], mask: Tensor, hints: list[int], power: int
) -> dict[str, float]:
    """The formula, frame by frame."""
    terms = dict.fromkeys(
        ["mask_hint_loss", "unmask_hint_loss", "mask_rec_loss", "unmask_rec_loss"], 0.0
    )
    for kind, layers in (("hint", hints), ("rec", [N - 1])):
        for layer in layers:
            for b in range(B):
                for t in range(T):
                    target = u[layer] if mask[b, t] else m[layer]
                    d = (p[layer][b, t] - target[b, t]).abs().pow(power).mean().item()
                    terms[f"{'mask' if mask[b, t] else 'unmask'}_{kind}_loss"] += d / (B * T)
    return terms


@pytest.mark.parametrize(("loss_type", "power"), [("mse", 2), ("l1", 1)])
@pytest.mark.parametrize("hints", [[], [1], [0, 2], [0, 1, 2], [2, 3]])
def test_agrees_with_the_formula(loss_type: str, power: int, hints: list[int]) -> None:
    p, u, m, mask = _random(1), _random(2), _random(3), _mask()
    loss = MaskingDistillLoss(0.7, 0.3, loss_type)
    result = loss(p, u, m, mask, hint_layers=hints)
    expected = _direct(p, u, m, mask, hints, power)
    for name, value in expected.items():
        assert math.isclose(result[name].item(), value, rel_tol=1e-5), name
    hint = 0.3 * (expected["mask_hint_loss"] + expected["unmask_hint_loss"])
    rec = 0.7 * (expected["mask_rec_loss"] + expected["unmask_rec_loss"])
    assert math.isclose(result["hint_loss"].item(), hint, rel_tol=1e-5)
    assert math.isclose(result["rec_loss"].item(), rec, rel_tol=1e-5)
    assert math.isclose(result["loss"].item(), hint + rec, rel_tol=1e-5)


def test_tiny_values_by_hand() -> None:
    p = [torch.tensor([[[1.0, 3.0], [0.0, 0.0]]])]
    u = [torch.tensor([[[0.0, 1.0], [9.0, 9.0]]])]
    m = [torch.tensor([[[7.0, 7.0], [2.0, 0.0]]])]
    mask = torch.tensor([[True, False]])
    result = MaskingDistillLoss()(p, u, m, mask, hint_layers=[])
    assert result["mask_rec_loss"].item() == 1.25  # (1 + 4) / 2 channels / 2 frames
    assert result["unmask_rec_loss"].item() == 1.0  # (4 + 0) / 2 channels / 2 frames
    assert result["hint_loss"].item() == 0.0
    assert result["loss"].item() == 2.25


def test_a_stack_is_as_good_as_a_list() -> None:
    p, u, m = _random(1), _random(2), _random(3)
    loss = MaskingDistillLoss()
    listed = loss(p, u, m, _mask(), hint_layers=[0])
    stacked = loss(torch.stack(p), torch.stack(u), torch.stack(m), _mask(), hint_layers=[0])
    assert all(torch.equal(listed[name], stacked[name]) for name in listed)


def test_gradients_reach_only_the_heads_that_take_part() -> None:
    p, u, m = ([x.requires_grad_() for x in _random(seed)] for seed in (1, 2, 3))
    MaskingDistillLoss()(p, u, m, _mask(), hint_layers=[1])["loss"].backward()
    assert [x.grad is not None and bool(x.grad.abs().sum() > 0) for x in p] == [
        False,
        True,
        False,
        True,
    ]


def test_masked_frames_do_not_see_the_masked_teacher() -> None:
    p, u, m, mask = _random(1), _random(2), _random(3), _mask()
    loss = MaskingDistillLoss()
    before = loss(p, u, m, mask, hint_layers=[0, 1])["loss"]
    other_u = [torch.where(mask[..., None], x, x + 100) for x in u]
    other_m = [torch.where(mask[..., None], x + 100, x) for x in m]
    torch.testing.assert_close(loss(p, other_u, other_m, mask, hint_layers=[0, 1])["loss"], before)


@pytest.mark.parametrize("padded_frames", ["exclude", "count"])
def test_padding(padded_frames: str) -> None:
    """Excluded: the frames of all utterances, each on its own. Counted: as unmasked frames."""
    lengths = [7, 4, 5]
    p, u, m, mask = _random(1), _random(2), _random(3), _mask()
    padding = torch.arange(T)[None] >= torch.tensor(lengths)[:, None]
    loss = MaskingDistillLoss(padded_frames=padded_frames)
    whole = loss(p, u, m, mask & ~padding, padding_BT=padding, hint_layers=[0, 2])
    alone = torch.zeros(())
    for b, frames in enumerate(lengths):
        cut = [[x[b : b + 1, :frames] for x in xs] for xs in (p, u, m)]
        one = loss(*cut, mask[b : b + 1, :frames], hint_layers=[0, 2])
        alone = alone + one["loss"] * frames / sum(lengths)
    if padded_frames == "exclude":
        torch.testing.assert_close(whole["loss"], alone)
        nan = [torch.where(padding[..., None], torch.nan, x) for x in u]
        again = loss(p, nan, nan, mask & ~padding, padding_BT=padding, hint_layers=[])
        assert torch.isfinite(again["loss"])
    else:
        unpadded = loss(p, u, m, mask & ~padding, hint_layers=[0, 2])
        torch.testing.assert_close(whole["loss"], unpadded["loss"])
        assert not torch.isclose(whole["loss"], alone)


def test_masks_in_padding_are_ignored_when_padding_is_excluded() -> None:
    p, u, m = _random(1), _random(2), _random(3)
    padding = torch.arange(T)[None] >= torch.tensor([7, 4, 5])[:, None]
    loss = MaskingDistillLoss()
    results = [
        loss(p, u, m, mask, padding_BT=padding, hint_layers=[0])["loss"]
        for mask in (_mask() & ~padding, _mask() | padding)
    ]
    torch.testing.assert_close(*results)


def test_half_precision_does_not_overflow() -> None:
    p = [torch.full((1, 2, 4), 300.0, dtype=torch.float16)]
    u = [torch.full((1, 2, 4), -300.0, dtype=torch.float16)]
    result = MaskingDistillLoss()(p, u, u, torch.ones(1, 2, dtype=torch.bool), hint_layers=[])
    assert result["loss"].item() == 360000.0


@pytest.mark.parametrize("hints", [None, [], [0, 2]])
def test_validation_is_the_weighted_mean_per_layer(hints: list[int] | None) -> None:
    p, u = _random(1), _random(2)
    result = MaskingDistillLoss(0.7, 0.3).validation(p, u, hint_layers=hints)
    per_layer = [(a - b).square().mean() for a, b in zip(p, u, strict=True)]
    chosen = [0, 1, 2] if hints is None else hints
    expected = 0.7 * per_layer[-1] + sum((0.3 * per_layer[i] for i in chosen), torch.zeros(()))
    torch.testing.assert_close(result["loss"], expected)


def test_validation_leaves_padding_out() -> None:
    p, u = _random(1), _random(2)
    padding = torch.zeros(B, T, dtype=torch.bool)
    padding[:, 4:] = True
    result = MaskingDistillLoss().validation(p, u, padding_BT=padding)
    short = MaskingDistillLoss().validation([x[:, :4] for x in p], [x[:, :4] for x in u])
    torch.testing.assert_close(result["loss"], short["loss"])


def test_shape_errors_name_both_shapes_and_the_remedy() -> None:
    p, u, m, mask = _random(1), _random(2), _random(3), _mask()
    loss = MaskingDistillLoss()
    with pytest.raises(KDError, match=r"\(3, 7, 5\).*\(3, 6, 5\).*same waveforms"):
        loss(p, [x[:, :6] for x in u], m, mask, hint_layers=[0])
    with pytest.raises(KDError, match=r"\(3, 7, 5\).*\(3, 7, 4\).*head_dim to 4"):
        loss(p, [x[..., :4] for x in u], m, mask, hint_layers=[0])
    with pytest.raises(KDError, match=r"masked teacher.*\(3, 6, 5\)"):
        loss(p, u, [x[:, :6] for x in m], mask, hint_layers=[0])
    with pytest.raises(KDError, match=r"student has 4 layer.*teacher 3"):
        loss(p, u[1:], m[1:], mask, hint_layers=[0])
    with pytest.raises(KDError, match=r"mask_BT.*\(3, 6\).*\(3, 7, 5\)"):
        loss(p, u, m, mask[:, :6], hint_layers=[0])
    with pytest.raises(KDError, match=r"padding_BT is torch.float32"):
        loss(p, u, m, mask, padding_BT=mask.float(), hint_layers=[0])
    with pytest.raises(KDError, match=r"shape \(batch, frames, width\)"):
        loss(p, [x[0] for x in u], m, mask, hint_layers=[0])
    for hints in ([4], [-1], [1, 1]):
        with pytest.raises(KDError, match=r"hint_layers.*0\.\.3"):
            loss(p, u, m, mask, hint_layers=hints)


def test_all_bad_options_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        MaskingDistillLoss(-1.0, -2.0, "huber", "ignore")
    assert len(error.value.problems) == 4
