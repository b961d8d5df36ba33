"""The loss of an update is the mean over all its tokens."""

from __future__ import annotations

import pytest
import torch

from espnet_kd.tasks.token_average import TokenAverage


def batches(*lengths: int) -> list[tuple[list[str], dict]]:
    """One batch each with so many labels and one ignored position."""
    return [(["u"], {"labels": torch.tensor([[1] * n + [-100]])}) for n in lengths]


def test_factors_make_the_mean_over_all_tokens() -> None:
    average = TokenAverage(batches(1, 3, 2, 2), 2, torch.device("cpu"))
    assert len(average) == 4
    scales = [float(batch["loss_scale"]) for _, batch in average]
    assert scales == pytest.approx([0.5, 1.5, 1.0, 1.0])
    # ESPnet divides by accum_grad: mean losses 8 and 4 of 1 and 3 tokens give (8 + 12) / 4.
    assert (8 * scales[0] + 4 * scales[1]) / 2 == pytest.approx(5.0)


def test_an_incomplete_update_at_the_end() -> None:
    scales = [
        float(batch["loss_scale"])
        for _, batch in TokenAverage(batches(1, 3, 2), 2, torch.device("cpu"))
    ]
    assert scales[2] == pytest.approx(1.0)


def test_without_accumulation_nothing_is_added() -> None:
    seen = list(TokenAverage(batches(1, 3), 1, torch.device("cpu")))
    assert all("loss_scale" not in batch for _, batch in seen)
