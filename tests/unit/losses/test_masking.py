"""Span masks: recorded draws of the original generator, invariants, short utterances, options."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_kd.errors import ConfigError, KDError
from espnet_kd.losses import MaskConfig, generate_mask
from espnet_kd.losses.masking import SELECTIONS

# Masks that the generator in WavLM's published code drew: configuration, seed, utterances.
RECORDED = [
    (
        MaskConfig(0.65, 10, "static", 0.0, False, 1),
        1,
        [
            "..##.###..##...................#..#######..######.#.........",
            "....................######################..................",
        ],
    ),
    (
        MaskConfig(0.5, 5, "static", 0.0, True, 2),
        2,
        [
            "..#..........###..##.#..........#.###.......####..",
            "....#####.....#####....#####...",
        ],
    ),
    (
        MaskConfig(0.6, 6, "uniform", 1.0, False, 1),
        3,
        [
            ".....##.##..##....#.................#.###.#.....",
            ".......####...##...######...............",
        ],
    ),
    (
        MaskConfig(0.8, 10, "uniform", 0.0, True, 1),
        4,
        [
            "...#........##.#####....##.##.#..####...#.####..##.######.####.###....",
            ".######.##############..............##........#########....######.....",
        ],
    ),
    (
        MaskConfig(0.5, 6, "normal", 2.0, False, 0),
        5,
        [
            "..........####.......#########...#.##.#####............",
            "..........#####################.........",
        ],
    ),
    (
        MaskConfig(0.5, 6, "normal", 2.0, True, 3),
        6,
        [
            "........###.#..#.........#...#.##......########.....###.##......",
            "..####...######....#########...........###........",
        ],
    ),
    (
        MaskConfig(0.4, 7, "poisson", 0.0, False, 1),
        7,
        [
            ".########......................................##..#####.#..",
            "...................################.........",
        ],
    ),
    (
        MaskConfig(0.6, 5, "poisson", 0.0, True, 1),
        8,
        [
            "#####..#####....#####..####.###.######...########...",
            "##.##...########.#######...##.#####....#######.###..",
        ],
    ),
]


def _runs(mask_BT: np.ndarray) -> list[tuple[int, int, int]]:
    """The masked runs of a batch: (row, first frame, frames)."""
    runs = []
    for row, mask_T in enumerate(mask_BT):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], mask_T.astype(int), [0]])))
        runs += [(row, int(a), int(b - a)) for a, b in edges.reshape(-1, 2)]
    return runs


@pytest.mark.parametrize(("config", "seed", "drawn"), RECORDED)
def test_recorded_draws(config: MaskConfig, seed: int, drawn: list[str]) -> None:
    frames = [len(row) for row in drawn]
    mask_BT = generate_mask(config, frames, max(frames), np.random.RandomState(seed))
    for row, expected in zip(mask_BT, drawn, strict=True):
        assert "".join("#" if masked else "." for masked in row[: len(expected)]) == expected


configs = st.builds(
    MaskConfig,
    mask_prob=st.floats(0.0, 1.0),
    mask_length=st.integers(1, 15),
    mask_selection=st.sampled_from(SELECTIONS),
    mask_other=st.integers(0, 2).map(float),
    no_mask_overlap=st.booleans(),
    mask_min_space=st.integers(0, 3),
    min_masks=st.integers(0, 4),
    equal_masks=st.booleans(),
)
batches = st.lists(st.integers(1, 90), min_size=1, max_size=5)


@settings(max_examples=300)
@given(config=configs, frames=batches, extra=st.integers(0, 3), seed=st.integers(0, 2**32 - 1))
def test_invariants(config: MaskConfig, frames: list[int], extra: int, seed: int) -> None:
    total = max(frames) + extra
    mask_BT = generate_mask(config, frames, total, np.random.RandomState(seed))
    assert mask_BT.shape == (len(frames), total)
    assert mask_BT.dtype == np.bool_
    for row, valid in zip(mask_BT, frames, strict=True):
        assert not row[valid:].any(), "masked padding"
        assert row[:valid].sum() < valid, "nothing left to see"
    if config.equal_masks:
        assert len(set(mask_BT.sum(axis=1)) - {0}) <= 1
    again = generate_mask(config, frames, total, np.random.RandomState(seed))
    np.testing.assert_array_equal(mask_BT, again)


@settings(max_examples=200)
@given(
    frames=st.integers(2, 200),
    space=st.integers(1, 4),
    length=st.integers(1, 15),
    seed=st.integers(0, 2**32 - 1),
)
def test_spans_stay_apart(frames: int, space: int, length: int, seed: int) -> None:
    config = MaskConfig(mask_length=length, mask_selection="static", mask_min_space=space)
    runs = _runs(generate_mask(config, [frames], frames, np.random.RandomState(seed)))
    gaps = [after[1] - (run[1] + run[2]) for run, after in itertools.pairwise(runs)]
    assert all(gap >= space for gap in gaps)
    if frames >= length + space:
        assert {run[2] for run in runs} == {length}


@pytest.mark.parametrize("frames", range(1, 25))
def test_short_utterances_are_masked_not_refused(frames: int) -> None:
    """The original raises here; we shorten the spans."""
    for seed in range(50):
        mask_BT = generate_mask(MaskConfig(), [frames], frames, np.random.RandomState(seed))
        masked = int(mask_BT.sum())
        assert masked == 0 if frames == 1 else 1 <= masked < frames


def test_one_frame_does_not_unmask_the_whole_batch() -> None:
    mask_BT = generate_mask(MaskConfig(), [60, 1, 50], 60, np.random.RandomState(0))
    counts = mask_BT.sum(axis=1).tolist()
    assert counts[1] == 0
    assert counts[0] == counts[2] > 0


def test_share_of_masked_frames_is_as_published() -> None:
    rng = np.random.RandomState(0)
    for mask_prob, share in ((0.8, 0.67), (0.4, 0.30)):
        config = MaskConfig(mask_prob=mask_prob)
        drawn = [generate_mask(config, [499, 420, 380, 400], 499, rng) for _ in range(50)]
        masked = sum(int(m.sum()) for m in drawn) / (50 * (499 + 420 + 380 + 400))
        assert masked == pytest.approx(share, abs=0.04)


def test_thinning_can_be_switched_off() -> None:
    frames = [100, 40]
    off = generate_mask(MaskConfig(equal_masks=False), frames, 100, np.random.RandomState(3))
    on = generate_mask(MaskConfig(), frames, 100, np.random.RandomState(3))
    assert off[0].sum() > off[1].sum() == on[0].sum() == on[1].sum()
    assert (on <= off).all(), "thinning only removes"


def test_all_problems_are_reported_at_once() -> None:
    config = MaskConfig(1.5, 0, "gamma", -1.0, True, -1, -1)
    assert len(config.validate()) == 6
    assert "2 mask_length" in MaskConfig(mask_length=2, mask_other=5.0).validate()[0]
    assert MaskConfig().validate() == []
    with pytest.raises(ConfigError, match="mask_prob is 1.5"):
        generate_mask(config, [10], 10, np.random.RandomState(0))


@pytest.mark.parametrize("frames", [[0, 5], [9]])
def test_impossible_lengths(frames: list[int]) -> None:
    with pytest.raises(KDError, match=r"not in 1\.\.8; pass the lengths in frames"):
        generate_mask(MaskConfig(), frames, 8, np.random.RandomState(0))
