from __future__ import annotations

import itertools

import numpy as np
import pytest

from espnet_kd.errors import DataDirError
from s3prl_upstreams.scoring.der import (
    NO_ERRORS,
    DiarizationErrors,
    diarization_errors,
    recording_errors,
)
from s3prl_upstreams.scoring.rttm import Turn

A, B = Turn("a", 0.0, 4.0), Turn("b", 4.0, 10.0)


def random_turns(rng, speakers, count, digits=2, length=10.0):
    """Turns of up to ``speakers`` people; those of one person may overlap."""
    starts = rng.uniform(0.0, length, count)
    lasting = rng.uniform(0.05, 2.0, count)
    names = rng.integers(0, speakers, count)
    return [
        Turn(f"s{name}", round(float(start), digits), round(float(start + seconds), digits))
        for name, start, seconds in zip(names, starts, lasting, strict=True)
    ]


def parts(errors):
    return errors.scored, errors.missed, errors.false_alarm, errors.confusion


def seconds(*values):
    return pytest.approx(values, abs=1e-9)


@pytest.mark.parametrize(
    ("system", "expected"),
    [
        ([Turn("1", 0, 4), Turn("2", 4, 10)], (10, 0, 0, 0)),
        ([Turn("2", 0, 4), Turn("1", 4, 10)], (10, 0, 0, 0)),  # names mean nothing
        ([Turn("1", 0, 3), Turn("2", 4, 10)], (10, 1, 0, 0)),
        ([Turn("1", 0, 4), Turn("2", 4, 10), Turn("1", 6, 7)], (10, 0, 1, 0)),
        ([Turn("1", 0, 4), Turn("2", 4, 12)], (10, 0, 2, 0)),  # beyond the reference, too
        ([Turn("1", 0, 5), Turn("2", 5, 10)], (10, 0, 0, 1)),
        ([Turn("1", 0, 10)], (10, 0, 0, 4)),  # whoever shares more is meant
        ([Turn("1", 0, 4), Turn("2", 4, 7), Turn("3", 7, 10)], (10, 0, 0, 3)),  # one to one
        ([Turn("1", 0, 4), Turn("1", 1, 3), Turn("2", 4, 10)], (10, 0, 0, 0)),  # said twice
        ([], (10, 10, 0, 0)),
    ],
)
def test_each_kind_of_error(system, expected):
    assert parts(recording_errors([A, B], system)) == seconds(*expected)


def test_overlapping_speech_counts_once_per_speaker():
    reference = [Turn("a", 0, 6), Turn("b", 4, 10)]
    one = [Turn("1", 0, 6), Turn("2", 6, 10)]
    assert parts(recording_errors(reference, one)) == seconds(12, 2, 0, 0)
    # Two speak and two are found, but one of them is a third person.
    other = [Turn("1", 0, 6), Turn("2", 6, 10), Turn("3", 4, 6)]
    assert parts(recording_errors(reference, other)) == seconds(12, 0, 0, 2)
    assert parts(recording_errors(reference, other, overlaps=False)) == seconds(8, 0, 0, 0)


def test_the_mapping_is_the_best_one_and_not_a_greedy_one():
    # 1 shares 5 s with a and 4 s with b; 2 shares 4 s with a only. Greedy: 5 + 0; best: 4 + 4.
    reference = [Turn("a", 0, 9), Turn("b", 10, 14)]
    system = [Turn("1", 0, 5), Turn("2", 5, 9), Turn("1", 10, 14)]
    assert recording_errors(reference, system).confusion == pytest.approx(5.0)


def test_nothing_near_a_boundary_of_the_reference_is_scored_with_a_collar():
    late = [Turn("1", 0.3, 4.3), Turn("2", 4.3, 10)]
    assert parts(recording_errors([A, B], late)) == seconds(10, 0.3, 0, 0.3)
    assert parts(recording_errors([A, B], late, collar=0.25)) == seconds(9.0, 0.05, 0, 0.05)
    assert parts(recording_errors([A, B], late, collar=0.5)) == seconds(8.0, 0, 0, 0)
    # Turns that the reference splits inside one speaker's speech have no boundary there.
    halves = [Turn("a", 0.0, 3.0), Turn("a", 2.0, 4.0), B]
    assert parts(recording_errors(halves, late, collar=0.25)) == seconds(9.0, 0.05, 0, 0.05)


def test_the_mapping_does_not_depend_on_collars():
    # As in md-eval: 1 shares most with a, although a's speech lies within collars.
    reference = [*(Turn("a", start, start + 0.4) for start in (0, 1, 2, 3)), Turn("b", 5, 6)]
    system = [*(Turn("1", start, start + 0.4) for start in (0, 1, 2, 3)), Turn("1", 5, 6)]
    assert parts(recording_errors(reference, system, collar=0.25)) == seconds(0.5, 0, 0, 0.5)


def test_sums_over_recordings():
    reference = {"x": [A], "y": [B], "z": [A]}
    system = {"x": [Turn("1", 0, 2)], "y": [Turn("1", 4, 13)]}
    errors = diarization_errors(reference, system)
    assert parts(errors) == seconds(14, 2 + 4, 3, 0)
    assert errors.rate == pytest.approx(100 * 9 / 14)


def test_no_speech():
    assert recording_errors([], []) == NO_ERRORS
    assert NO_ERRORS.rate == 0.0
    assert recording_errors([], [A, B]) == DiarizationErrors(0.0, 0.0, 10.0, 0.0)
    assert recording_errors([], [A]).rate == 100.0
    assert recording_errors([A], []).rate == 100.0


def test_strange_recordings_are_named():
    with pytest.raises(DataDirError, match=r"lacks 1 of the system \(y\)"):
        diarization_errors({"x": [A]}, {"y": [A]})
    with pytest.raises(DataDirError, match="0 recording"):
        diarization_errors({}, {})


def on_a_grid(reference, system, step, length=14.0):
    """The same by counting frames and trying every mapping."""
    times = np.arange(0, length, step) + step / 2
    active = []
    for turns in (reference, system):
        names = sorted({turn.speaker for turn in turns})
        flags = np.zeros((len(names), len(times)), dtype=bool)
        for turn in turns:
            flags[names.index(turn.speaker)] |= (times > turn.start) & (times < turn.end)
        active.append(flags)
    true, found = active
    right = 0
    width = max(len(true), len(found))
    padded = np.zeros((width, len(times)), dtype=bool)
    padded[: len(found)] = found
    for order in itertools.permutations(range(width), len(true)):
        right = max(right, int((true & padded[list(order)]).sum()))
    r, s = true.sum(0), found.sum(0)
    missed, alarm = np.maximum(r - s, 0).sum(), np.maximum(s - r, 0).sum()
    confused = np.minimum(r, s).sum() - right
    return tuple(float(step * count) for count in (r.sum(), missed, alarm, confused))


@pytest.mark.parametrize("seed", range(12))
def test_a_fine_grid_and_all_permutations_agree(seed):
    rng = np.random.default_rng(seed)
    reference = random_turns(rng, 1 + seed % 4, 12)
    system = random_turns(rng, 1 + (seed + 1) % 5, 15)
    errors = recording_errors(reference, system)
    # Boundaries are multiples of 10 ms, so that frames of 10 ms are exact.
    assert parts(errors) == seconds(*on_a_grid(reference, system, 0.01))
    # Boundaries anywhere agree within a frame at each of them.
    reference, system = random_turns(rng, 3, 12, digits=6), random_turns(rng, 3, 15, digits=6)
    errors = recording_errors(reference, system)
    counted = on_a_grid(reference, system, 0.005)
    exact = parts(errors)
    assert counted == pytest.approx(exact, abs=0.005 * 2 * 27)
    assert sum(counted[1:]) == pytest.approx(sum(exact[1:]), rel=0.01)
