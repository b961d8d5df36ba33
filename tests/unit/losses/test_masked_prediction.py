"""Masked prediction: which frames count, both heads, learning, and errors."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from espnet_kd.errors import ConfigError
from espnet_kd.losses import LossInputError, MaskedPredictionLoss

B, T, D, C, N = 2, 9, 6, 5, 3


def _batch() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(B, T, D, generator=generator)
    codes = torch.randint(0, C, (B, T, N), generator=generator)
    return x, codes, torch.rand(B, T, generator=generator) < 0.5


def _mean(loss: MaskedPredictionLoss, x: Tensor, codes: Tensor, chosen: Tensor) -> Tensor:
    """The definition: mean -log p over the chosen frames and all streams with a target."""
    log_p = loss.logits(x).log_softmax(dim=-1)
    picked = [
        -log_p[b, t, n, codes[b, t, n]]
        for b, t in chosen.nonzero().tolist()
        for n in range(N)
        if codes[b, t, n] >= 0
    ]
    return torch.stack(picked).mean()


@pytest.mark.parametrize("head", ["linear", "cosine"])
def test_agrees_with_the_definition(head: str) -> None:
    x, codes, mask = _batch()
    codes[0, 2] = -1
    codes[1, 3, 1] = -1
    padding = torch.zeros(B, T, dtype=torch.bool)
    padding[1, 6:] = True
    loss = MaskedPredictionLoss(D, C, N, head=head, masked_weight=0.7, unmasked_weight=0.2)
    result = loss(x, codes, mask, padding)
    masked = _mean(loss, x, codes, mask & ~padding)
    unmasked = _mean(loss, x, codes, ~mask & ~padding)
    torch.testing.assert_close(result["masked_loss"], masked)
    torch.testing.assert_close(result["unmasked_loss"], unmasked)
    torch.testing.assert_close(result["loss"], 0.7 * masked + 0.2 * unmasked)
    valid = (codes >= 0) & ~padding[..., None]
    assert result["num_targets"].item() == valid.sum().item()
    hits = ((loss.logits(x).argmax(dim=-1) == codes) & valid).sum() / valid.sum()
    torch.testing.assert_close(result["accuracy"], hits)


def test_only_masked_frames_receive_a_gradient_by_default() -> None:
    x, codes, mask = _batch()
    x.requires_grad_()
    loss = MaskedPredictionLoss(D, C, N)
    result = loss(x, codes, mask)
    assert "unmasked_loss" not in result
    result["loss"].backward()
    assert x.grad is not None
    assert torch.equal(x.grad.abs().sum(dim=-1) > 0, mask)
    assert all(p.grad is not None for p in loss.parameters())


def test_without_a_mask_every_frame_counts() -> None:
    x, codes, _ = _batch()
    loss = MaskedPredictionLoss(D, C, N)
    everything = torch.ones(B, T, dtype=torch.bool)
    torch.testing.assert_close(loss(x, codes)["loss"], loss(x, codes, everything)["loss"])


def test_one_stream_may_come_without_its_dimension() -> None:
    x, codes, mask = _batch()
    loss = MaskedPredictionLoss(D, C)
    flat, stream = loss(x, codes[..., 0], mask), loss(x, codes[..., :1], mask)
    assert torch.equal(flat["loss"], stream["loss"])


def test_nothing_to_predict_is_zero_with_a_gradient() -> None:
    x, codes, mask = _batch()
    loss = MaskedPredictionLoss(D, C, N)
    for nothing in (loss(x, torch.full_like(codes, -1), mask), loss(x, codes, mask & False)):
        assert nothing["loss"].item() == 0.0
        assert nothing["accuracy"].item() == 0.0
        nothing["loss"].backward()
    assert all(torch.isfinite(p.grad).all() for p in loss.parameters() if p.grad is not None)


def test_untrained_is_chance_and_training_finds_the_codes() -> None:
    torch.manual_seed(0)
    codes = torch.arange(C).repeat(4).reshape(2, -1, 1)
    x = torch.nn.functional.one_hot(codes[..., 0], D).float()
    loss = MaskedPredictionLoss(D, C)
    torch.nn.init.zeros_(loss.proj.weight)
    torch.nn.init.zeros_(loss.proj.bias)
    assert loss(x, codes)["loss"].item() == pytest.approx(math.log(C))
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.5)
    for _ in range(30):
        optimizer.zero_grad()
        loss(x, codes)["loss"].backward()
        optimizer.step()
    assert loss(x, codes)["accuracy"].item() == 1.0


def test_cosine_head_ignores_the_scale_of_its_class_embeddings() -> None:
    x, _, _ = _batch()
    loss = MaskedPredictionLoss(D, C, N, head="cosine", final_dim=4, logit_temp=0.1)
    before = loss.logits(x)
    assert before.shape == (B, T, N, C)
    assert before.abs().max() <= 10.0
    with torch.no_grad():
        loss.class_embeddings.mul_(7.0)
    torch.testing.assert_close(loss.logits(x), before)


def test_errors_name_shapes_and_remedy() -> None:
    x, codes, mask = _batch()
    loss = MaskedPredictionLoss(D, C, N)
    pattern = r"codes \(2, 8, 3\).*\(2, 9, 6\).*pad them \(with -1\)"
    with pytest.raises(LossInputError, match=pattern):
        loss(x, codes[:, :8], mask)
    with pytest.raises(LossInputError, match=r"codes \(2, 9, 2\).*3 code stream"):
        loss(x, codes[..., :2], mask)
    with pytest.raises(LossInputError, match=r"range from \d to 5; allowed are 0\.\.4 and -1"):
        loss(x, codes.clone().index_fill_(1, torch.tensor([0]), C), mask)
    with pytest.raises(LossInputError, match="range from -2"):
        loss(x, codes.clone().index_fill_(1, torch.tensor([0]), -2), mask)
    with pytest.raises(LossInputError, match="give integers"):
        loss(x, codes.float(), mask)
    with pytest.raises(LossInputError, match="mask_BT"):
        loss(x, codes, mask[:, 1:])


def test_all_bad_options_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        MaskedPredictionLoss(0, 1, 0, head="mlp", final_dim=0, logit_temp=0.0, masked_weight=0.0)
    assert len(error.value.problems) == 7
