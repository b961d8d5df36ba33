"""Batches of similar lengths: what is used, how batches fill, how processes share them."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from espnet_kd.data.length_batches import (
    LengthLimits,
    fill_batches,
    halve_to_multiple,
    permuted,
    share,
    share_published,
)

flat = itertools.chain.from_iterable

LENGTHS = st.lists(st.integers(1, 100), max_size=60)
BATCHES = st.lists(st.lists(st.integers(), min_size=1, max_size=3), min_size=1, max_size=9)
PROCESSES = st.integers(1, 8)


def limits(*, crop: bool = False, shortest: int = 20, longest: int = 60) -> LengthLimits:
    return LengthLimits(shortest=shortest, longest=longest, per_batch=100, crop_longer=crop)


def test_limits_belong_to_what_is_used() -> None:
    lengths = [19, 20, 60, 61]
    assert limits().usable(lengths) == [1, 2]
    assert limits(crop=True).usable(lengths) == [1, 2, 3]
    assert limits(crop=True).usable([]) == []


def test_a_batch_may_be_exactly_full() -> None:
    assert fill_batches([40, 60, 20], limits()) == [[2, 0], [1]]
    assert fill_batches([40, 60], limits()) == [[0, 1]]


def test_equal_lengths_keep_their_order() -> None:
    assert fill_batches([30, 20, 30, 20], limits()) == [[1, 3, 0, 2]]


def test_cropped_utterances_count_as_the_longest_piece() -> None:
    assert fill_batches([90, 40, 61], limits(crop=True)) == [[1, 0], [2]]


@given(LENGTHS, st.booleans())
def test_each_usable_utterance_once_and_no_batch_too_long(lengths: list[int], crop: bool) -> None:
    chosen = limits(crop=crop)
    batches = fill_batches(lengths, chosen)
    assert sorted(flat(batches)) == chosen.usable(lengths)
    used = [[min(lengths[i], chosen.longest) for i in batch] for batch in batches]
    assert all(batch and sum(batch) <= chosen.per_batch for batch in used)
    assert list(flat(used)) == sorted(flat(used))
    for batch, following in itertools.pairwise(used):
        assert sum(batch) + following[0] > chosen.per_batch


def test_order_depends_on_the_seed_alone() -> None:
    batches = list(range(50))
    assert permuted(batches, 3) == permuted(batches, 3)
    assert permuted(batches, 3) != permuted(batches, 4)
    assert sorted(permuted(batches, 3)) == batches


@given(BATCHES, PROCESSES)
def test_halving_keeps_all_and_gives_each_process_equally_many(
    batches: list[list[int]], processes: int
) -> None:
    everything = list(flat(batches))
    parts = halve_to_multiple(batches, processes)
    assert list(flat(parts))[: len(everything)] == everything
    assert all(parts)
    assert len({len(share(parts, processes, rank)) for rank in range(processes)}) == 1
    if len(everything) >= len(batches) + processes:
        assert len(list(flat(parts))) == len(everything)
        assert len(parts) - len(batches) < processes


def test_halving_takes_the_batch_with_most_utterances() -> None:
    assert halve_to_multiple([[1], [2, 3, 4], [5, 6]], 4) == [[1], [2, 3], [4], [5, 6]]
    batches = [[1], [2]]
    assert halve_to_multiple(batches, 2) == batches


def test_batches_come_again_where_nothing_can_be_halved() -> None:
    assert halve_to_multiple([[1], [2], [3]], 2) == [[1], [2], [3], [1]]
    assert halve_to_multiple([[1, 2]], 5) == [[1], [2], [1], [2], [1]]
    assert halve_to_multiple([], 5) == []


@given(st.lists(st.integers(), min_size=1, max_size=20), PROCESSES)
def test_published_shares_are_equally_many_and_repeat_at_least_one(
    batches: list[int], processes: int
) -> None:
    shares = [share_published(batches, processes, rank) for rank in range(processes)]
    total = len(batches) + processes - len(batches) % processes
    assert {len(part) for part in shares} == {total // processes}
    assert shares[0][0] == batches[0]
