"""Masks repeat by seed, epoch and rank; codes are brought to the student's frames."""

from __future__ import annotations

import pytest
import torch

from espnet_kd.errors import KDError
from espnet_kd.losses.masking import MaskConfig
from espnet_kd.tasks.codes import fit_codes
from espnet_kd.tasks.masks import MaskSource

LENGTHS_B = torch.tensor([60, 50])


def source(rank: int = 0, seed: int = 0, schedule: list[float] | None = None) -> MaskSource:
    return MaskSource(MaskConfig(mask_length=3), schedule, max_epoch=10, seed=seed, rank=rank)


def test_masks_of_an_epoch_do_not_depend_on_what_came_before() -> None:
    first, second = source(), source()
    for _ in range(5):
        first.draw(LENGTHS_B, 60)
    first.start_validation()
    first.draw(LENGTHS_B, 60)
    for masks in (first, second):
        masks.start_epoch(4)
    assert torch.equal(first.draw(LENGTHS_B, 60), second.draw(LENGTHS_B, 60))
    assert not torch.equal(first.draw(LENGTHS_B, 60), source().draw(LENGTHS_B, 60))


def test_ranks_seeds_and_epochs_differ() -> None:
    drawn = [source(rank=0), source(rank=1), source(seed=1)]
    later = source()
    later.start_epoch(2)
    masks = [masks.draw(LENGTHS_B, 60) for masks in [*drawn, later]]
    assert all(not torch.equal(a, b) for i, a in enumerate(masks) for b in masks[:i])


def test_validation_masks_are_the_same_every_time() -> None:
    masks = source()
    found = []
    for epoch in (1, 2):
        masks.start_epoch(epoch)
        masks.start_validation()
        found.append(masks.draw(LENGTHS_B, 60))
    assert torch.equal(*found)


def test_no_padded_frame_is_masked_and_the_schedule_moves() -> None:
    masks = source(schedule=[0.1, 0.9])
    low = masks.draw(LENGTHS_B, 60)
    assert not low[1, 50:].any()
    masks.start_epoch(10)
    assert masks.draw(LENGTHS_B, 60).sum() > low.sum()


def test_codes_are_cut_and_filled() -> None:
    codes = torch.arange(2 * 7).reshape(2, 7).to(torch.int32)
    fitted = fit_codes(
        codes, torch.tensor([7, 5]), torch.tensor([6, 6]), 8, tolerance=1, utterances=["a", "b"]
    )
    assert fitted.shape == (2, 8, 1)
    assert fitted.dtype == torch.int64
    assert fitted[0, :, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, -1]
    shorter = fit_codes(
        codes.unsqueeze(-1),
        torch.tensor([5, 5]),
        torch.tensor([5, 5]),
        5,
        tolerance=0,
        utterances="ab",
    )
    assert shorter.shape == (2, 5, 1)


def test_codes_of_another_length_name_the_utterance() -> None:
    with pytest.raises(KDError, match="utterance b: 5 codes for 8 frames"):
        fit_codes(
            torch.zeros(2, 8, dtype=torch.int64),
            torch.tensor([8, 5]),
            torch.tensor([8, 8]),
            8,
            tolerance=2,
            utterances=["a", "b"],
        )
