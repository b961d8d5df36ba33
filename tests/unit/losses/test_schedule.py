"""Epoch schedules: what they draw, that resuming draws the same, and what they refuse."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espnet_kd.errors import ConfigError
from espnet_kd.losses import HintLayerSchedule, MaskProbSchedule


@given(
    layers=st.integers(1, 24), data=st.data(), seed=st.integers(0, 10**6), epoch=st.integers(0, 500)
)
def test_hints_are_distinct_sorted_and_never_the_last(
    layers: int, data: st.DataObject, seed: int, epoch: int
) -> None:
    count = data.draw(st.integers(0, layers - 1))
    hints = HintLayerSchedule(layers, count, seed).layers(epoch)
    assert hints == sorted(set(hints))
    assert len(hints) == count
    assert all(0 <= layer < layers - 1 for layer in hints)


def test_hints_change_with_epoch_and_seed_and_use_every_layer() -> None:
    drawn = [HintLayerSchedule(12, 4, 0).layers(epoch) for epoch in range(40)]
    assert len({tuple(hints) for hints in drawn}) > 20
    assert set().union(*drawn) == set(range(11))
    assert drawn != [HintLayerSchedule(12, 4, 1).layers(epoch) for epoch in range(40)]


def test_published_setting_takes_all_layers() -> None:
    assert HintLayerSchedule(12, 11).layers(7) == list(range(11))


def test_another_process_draws_the_same() -> None:
    code = "from espnet_kd.losses import HintLayerSchedule as H; print(H(12, 5, 3).layers(17))"
    command = [sys.executable, "-c", code]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed.strip() == str(HintLayerSchedule(12, 5, 3).layers(17))


@pytest.mark.parametrize("count", [-1, 12])
def test_impossible_hint_counts(count: int) -> None:
    with pytest.raises(ConfigError, match=r"distil_random_layer.*0\.\.11"):
        HintLayerSchedule(12, count)


@pytest.mark.parametrize("given_as", ["[0.4, 0.8]", "(0.4, 0.8)", [0.4, 0.8], " [.4,.8] "])
def test_mask_prob_moves_linearly(given_as: object) -> None:
    schedule = MaskProbSchedule(given_as, 4)
    values = [schedule.value(epoch) for epoch in range(6)]
    assert values == pytest.approx([0.4, 0.5, 0.6, 0.7, 0.8, 0.8])


@pytest.mark.parametrize("off", ["", "  ", None, "[]", []])
def test_schedule_off(off: object) -> None:
    assert MaskProbSchedule(off, 4).value(0) is None


@pytest.mark.parametrize(
    "bad", ["[0.4]", "[0.4, 1.2]", "0.4", "[0.4, 'x']", "__import__('os')", "[0.4,", "[1, True]"]
)
def test_anything_but_two_probabilities_is_refused(bad: str) -> None:
    with pytest.raises(ConfigError, match="no pair of probabilities"):
        MaskProbSchedule(bad, 4)


def test_epochs_must_be_positive() -> None:
    with pytest.raises(ConfigError, match="num_epochs"):
        MaskProbSchedule("[0.1, 0.2]", 0)
