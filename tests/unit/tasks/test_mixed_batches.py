"""Batches over several data sets: shares, epochs, processes."""

from __future__ import annotations

from collections import Counter

import pytest

from espnet_kd.errors import ConfigError
from espnet_kd.tasks.mixed_batches import MixedBatches, fixed_batches, shares

SETS = [[f"a{i}" for i in range(7)], [f"b{i}" for i in range(3)]]


def epoch(sampler: MixedBatches, number: int) -> list[str]:
    """Keys of an epoch, as ESPnet asks for it."""
    return [key for batch in sampler.generate(sampler.seed + number) for key in batch]


def test_without_weights_all_utterances_come_once_per_epoch() -> None:
    sampler = MixedBatches(SETS, shares([7, 3], None), 4, seed=5)
    assert len(sampler) == 3
    orders = [epoch(sampler, number) for number in (1, 2)]
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(SETS[0] + SETS[1])
    assert orders[0] != orders[1]
    assert epoch(MixedBatches(SETS, [7, 3], 4, seed=5), 2) == orders[1]
    assert epoch(MixedBatches(SETS, [7, 3], 4, seed=6), 2) != orders[1]


def test_weights_are_kept_in_every_epoch_and_no_utterance_is_preferred() -> None:
    counts = shares([7, 3], [1.0, 1.0])
    assert counts == [5, 5]
    sampler = MixedBatches(SETS, counts, 4, seed=0)
    seen: Counter[str] = Counter()
    for number in range(21):
        keys = epoch(sampler, number)
        assert sum(key.startswith("b") for key in keys) == 5
        seen.update(keys)
    assert {seen[key] for key in SETS[0]} == {15}
    assert {seen[key] for key in SETS[1]} == {35}


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_share_each_batch(processes: int) -> None:
    counts = shares([7, 3], None)
    parts = [
        MixedBatches(SETS, counts, 4, seed=1, processes=processes, rank=rank).generate(2)
        for rank in range(processes)
    ]
    whole = MixedBatches(SETS, counts, 4, seed=1).generate(2)
    assert len({len(part) for part in parts}) == 1
    for number, batch in enumerate(parts[0]):
        together = {key for part in parts for key in part[number]}
        assert together == set(whole[number])
        assert batch
    # With 3 processes the last two utterances cannot be shared.
    assert len(parts[0]) == (3 if processes == 2 else 2)


def test_incomplete_batches_can_be_dropped() -> None:
    assert len(MixedBatches(SETS, [7, 3], 4, 0, drop_last=True).generate(0)) == 2


@pytest.mark.parametrize(
    ("sizes", "weights", "part"),
    [([7, 3], [1.0], r"1 weight\(s\) for 2 folder"), ([7, 3], [1.0, 1e-6], "would never come")],
)
def test_impossible_weights(sizes: list[int], weights: list[float], part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        shares(sizes, weights)


def test_too_few_utterances() -> None:
    with pytest.raises(ConfigError, match="has no batch of 4"):
        MixedBatches([["a"]], [1], 4, 0, processes=2)
    with pytest.raises(ConfigError, match="cannot be shared by 2 processes"):
        fixed_batches(["a"], 4, 2, 0)


def test_validation_loses_nothing() -> None:
    keys = [str(i) for i in range(7)]
    assert fixed_batches(keys, 3, 1, 0) == [["0", "1", "2"], ["3", "4", "5"], ["6"]]
    parts = [fixed_batches(keys, 3, 2, rank) for rank in range(2)]
    assert [len(part) for part in parts] == [2, 2]
    assert sorted(key for part in parts for batch in part for key in batch) == keys
