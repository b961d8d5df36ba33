"""Masking distillation against the published numbers, from the stored student projections."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from golden_cases import GoldenCase, find_cases, params

from espnet_kd.losses import MaskingDistillLoss

pytestmark = pytest.mark.golden

SYSTEM = "armhubert"
TERMS = {
    "mask_hint_loss": "mask_hint_loss",
    "unmask_hint_loss": "unmask_hint_loss",
    "mask_rec_loss": "mask_rec_loss",
    "unmask_rec_loss": "unmask_rec_loss",
    "hint_loss": "hint_loss",
    "rec_loss": "rec_loss",
    "total": "loss",
}


def _loss(case: GoldenCase) -> MaskingDistillLoss:
    train = case.config["yaml"]["train"]
    return MaskingDistillLoss(
        rec_loss_weight=train["rec_loss_weight"],
        random_layer_weight=train["random_layer_weight"],
        rec_loss_type=train["rec_loss_type"],
        padded_frames="count",
    )


def _close(result: torch.Tensor, golden: torch.Tensor) -> None:
    torch.testing.assert_close(result, golden, rtol=2e-6, atol=1e-7, check_dtype=False)


def _having(key: str, *, only: tuple[str, ...] = ()) -> list[Any]:
    found = [
        (f"{case.name}-{mode}", (case, mode))
        for case in find_cases(SYSTEM)
        for mode in case.modes(key)
        if not only or mode in only
    ]
    return params(SYSTEM, found, arity=2)


@pytest.mark.parametrize(("case", "mode"), _having("batch.{}.student_projections"))
def test_every_term_on_the_batch(case: GoldenCase, mode: str) -> None:
    result = _loss(case)(
        case.tensor(f"batch.{mode}.student_projections"),
        case.tensor("batch.teacher_unmasked"),
        case.tensor("batch.teacher_masked"),
        case.tensor("mask_indices"),
        padding_BT=case.tensor("student_frame_padding"),
        hint_layers=case.config["rand_l"],
    )
    for golden, ours in TERMS.items():
        _close(result[ours], case.tensor(f"batch.{mode}.{golden}"))


# Without mixing of utterances, the longest one's row of the batch is what it gives alone.
@pytest.mark.parametrize(
    ("case", "mode"), _having("batch.{}.student_projections", only=("fixed", "single"))
)
def test_every_term_on_one_utterance(case: GoldenCase, mode: str) -> None:
    row = slice(int(case.array("solo_index")), int(case.array("solo_index")) + 1)
    result = _loss(case)(
        case.tensor(f"batch.{mode}.student_projections")[:, row],
        case.tensor("batch.teacher_unmasked")[:, row],
        case.tensor("batch.teacher_masked")[:, row],
        case.tensor("mask_indices")[row],
        hint_layers=case.config["rand_l"],
    )
    for golden, ours in TERMS.items():
        torch.testing.assert_close(
            result[ours], case.tensor(f"solo.{mode}.{golden}"), rtol=1e-5, atol=1e-6
        )


# The upstream's hidden states are the projections of the unmasked batch.
@pytest.mark.parametrize(
    ("case", "mode"),
    params(
        SYSTEM,
        [
            (f"{case.name}-{mode}", (case, mode))
            for case in find_cases(SYSTEM)
            for mode in case.modes("expert.{}.hidden_states")
            if f"batch.{mode}.valid_loss" in case.arrays
        ],
        arity=2,
    ),
)
def test_validation_loss(case: GoldenCase, mode: str) -> None:
    result = _loss(case).validation(
        case.tensor(f"expert.{mode}.hidden_states"),
        case.tensor("batch.teacher_unmasked"),
        padding_BT=case.tensor("student_frame_padding"),
        hint_layers=case.config["rand_l"],
    )
    _close(result["loss"], case.tensor(f"batch.{mode}.valid_loss"))
