"""Layer choice: spacing, explicit lists, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from espnet_kd.errors import ConfigError
from espnet_kd.whisper.layers import select_layers, spaced_layers


@pytest.mark.parametrize(
    ("teacher", "student", "layers"),
    [
        (32, 2, [0, 31]),
        (32, 8, [0, 4, 8, 13, 17, 22, 26, 31]),
        (12, 6, [0, 2, 4, 6, 8, 11]),
        (4, 1, [3]),
        (3, 3, [0, 1, 2]),
    ],
)
def test_published_maps(teacher: int, student: int, layers: list[int]) -> None:
    assert spaced_layers(teacher, student) == layers


def test_truncation_is_numpys() -> None:
    """Layer 11 of 31 to 23 is 14 in floating point, 15 in integers."""
    assert spaced_layers(31, 23)[11] == 14
    integers = {(n, m) for n in range(1, 65) for m in range(2, n + 1)
                if spaced_layers(n, m) != [i * (n - 1) // (m - 1) for i in range(m)]}  # fmt: skip
    assert len(integers) == 11


@given(st.integers(1, 64).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n))))
def test_layers_rise_and_end_with_the_last(pair: tuple[int, int]) -> None:
    teacher, student = pair
    layers = spaced_layers(teacher, student)
    assert len(layers) == student
    assert layers == sorted(set(layers))
    assert layers[-1] == teacher - 1
    assert student == 1 or layers[0] == 0
    assert np.all(np.diff(layers) >= 1)


def test_nothing_asked_for_keeps_all() -> None:
    assert select_layers(5) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("numbers", "layers"),
    [([0, -1], [0, 5]), ([5, 0, 2], [5, 0, 2]), ([4, 4], [4, 4]), ([-6], [0])],
)
def test_explicit_lists(numbers: list[int], layers: list[int]) -> None:
    assert select_layers(6, None, numbers) == layers
    assert select_layers(6, len(numbers), numbers) == layers


@pytest.mark.parametrize(
    ("numbers", "layers"),
    [([0, -1], [0, 1]), ([5, 0, 2], [5, 0, 2]), ([4, 4], [0, 4]), ([5, 0, 9], [5, 0, 2])],
)
def test_lists_as_the_original_reads_them(numbers: list[int], layers: list[int]) -> None:
    assert select_layers(6, len(numbers), numbers, compat=True) == layers


@pytest.mark.parametrize(
    ("student", "numbers", "message"),
    [
        (7, None, "at most the 6"),
        (0, None, "at least 1"),
        (2, [0, 9], r"layer\(s\) 9 do not exist"),
        (2, [-7, 0], r"layer\(s\) -7 do not exist"),
        (3, [0, 1], "2 layer.s. are listed for a student of 3"),
        (None, [0, 1, 2, 3, 4, 5, 5], "at most the 6"),
        (None, [], "at least 1"),
    ],
)
def test_what_is_refused(student: int | None, numbers: list[int] | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        select_layers(6, student, numbers)


def test_all_problems_of_a_list_come_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        select_layers(2, 2, [0, 1, 7])
    assert len(caught.value.problems) == 3
