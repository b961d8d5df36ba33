"""The mask generator against the published one, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from golden_cases import GoldenCase, case_params, file_pairs, params

from espnet_kd.losses import MaskConfig, generate_mask

pytestmark = pytest.mark.golden

SYSTEM = "armhubert"


@pytest.mark.parametrize(
    ("entry", "golden_BT"),
    params(
        SYSTEM,
        [
            (f"{name}/{entry['key']}", (entry, arrays[entry["key"]]))
            for name, entries, arrays in file_pairs(SYSTEM, "masks")
            for entry in entries
        ],
        arity=2,
    ),
)
def test_stored_masks(entry: dict[str, Any], golden_BT: np.ndarray) -> None:
    config = MaskConfig(
        mask_prob=entry["mask_prob"],
        mask_length=entry["mask_length"],
        mask_selection=entry["mask_selection"],
        mask_other=entry["mask_other"],
        no_mask_overlap=entry["no_overlap"],
        mask_min_space=entry["min_space"],
        min_masks=entry["min_masks"],
    )
    rng = np.random.RandomState(entry["np_seed"])
    mask_BT = generate_mask(config, entry["frames"], golden_BT.shape[1], rng)
    np.testing.assert_array_equal(mask_BT, golden_BT)


@pytest.mark.parametrize(
    "case",
    case_params(
        SYSTEM,
        having=lambda case: (
            "mask_indices" in case.arrays and "mask_numpy_seed" in case.config.get("seeds", {})
        ),
    ),
)
def test_masks_of_the_training_batch(case: GoldenCase) -> None:
    names = MaskConfig.__dataclass_fields__
    options = {k: v for k, v in case.config["yaml"]["teacher"].items() if k in names}
    padding_BT = case.array("teacher_frame_padding")
    rng = np.random.RandomState(case.config["seeds"]["mask_numpy_seed"])
    frames_B = (~padding_BT).sum(axis=1)
    mask_BT = generate_mask(MaskConfig(**options), frames_B, padding_BT.shape[1], rng)
    np.testing.assert_array_equal(mask_BT, case.array("mask_indices"))
