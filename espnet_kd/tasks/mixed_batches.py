"""Batches over several data sets: all of them once per epoch, or mixed by weight.

The order is a function of the seed and the epoch alone, so that a resumed run goes on exactly, and
over the epochs every utterance of a set comes equally often.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from espnet2.samplers.abs_sampler import AbsSampler

from espnet_kd.errors import ConfigError

Batches = list[list[str]]


def shares(sizes: Sequence[int], weights: Sequence[float] | None) -> list[int]:
    """Utterances of each set in an epoch, which has as many as all sets together.

    Args:
        sizes: utterances of each set.
        weights: of each set; None = every utterance once.

    Raises:
        ConfigError: not one weight for each set, or a weight so small that a set never comes.
    """
    if weights is None:
        return list(sizes)
    if len(weights) != len(sizes):
        raise ConfigError(
            "kd_conf",
            [f"train_dataset_samples has {len(weights)} weight(s) for {len(sizes)} folder(s)"],
        )
    total = sum(sizes)
    found = [round(total * weight / sum(weights)) for weight in weights]
    if not min(found):
        raise ConfigError(
            "kd_conf",
            [
                f"train_dataset_samples: a folder with weight {min(weights):g} would never come in "
                f"an epoch of {total} utterances; raise its weight"
            ],
        )
    return found


class MixedBatches(AbsSampler):
    """Training batches of one process.

    Args:
        sets: keys of each data set.
        counts: utterances of each set in an epoch, see :func:`shares`.
        batch_size: utterances of a batch, over all processes.
        seed: ``--seed``; epoch e of ESPnet asks for ``seed + e``.
        processes: how many share each batch.
        rank: this one, from 0.
        drop_last: leave out an incomplete last batch.
    """

    def __init__(
        self,
        sets: Sequence[Sequence[str]],
        counts: Sequence[int],
        batch_size: int,
        seed: int,
        *,
        processes: int = 1,
        rank: int = 0,
        drop_last: bool = False,
    ) -> None:
        self.sets = sets
        self.counts = counts
        self.batch_size = batch_size
        self.seed = seed
        self.processes = processes
        self.rank = rank
        # Every process needs an utterance of every batch.
        self.smallest = batch_size if drop_last else processes
        if not len(self):
            raise ConfigError(
                "batch_size",
                [
                    f"an epoch of {sum(counts)} utterances has no batch of {batch_size} that "
                    f"{processes} process(es) can share"
                ],
            )

    def __len__(self) -> int:
        whole, rest = divmod(sum(self.counts), self.batch_size)
        return whole + (rest >= self.smallest)

    def __iter__(self) -> Iterator[list[str]]:
        return iter(self.generate(self.seed))

    def generate(self, seed: int) -> Batches:
        """This process's batches of the epoch that has this seed."""
        epoch = seed - self.seed
        keys = [
            keys[i]
            for number, (keys, count) in enumerate(zip(self.sets, self.counts, strict=True))
            for i in self._drawn(number, len(keys), epoch * count, count)
        ]
        order = np.random.default_rng([self.seed, seed, len(self.sets)]).permutation(len(keys))
        batches = [
            [keys[i] for i in order[start : start + self.batch_size]]
            for start in range(0, len(keys), self.batch_size)
        ]
        return [batch[self.rank :: self.processes] for batch in batches[: len(self)]]

    def _drawn(self, number: int, size: int, start: int, count: int) -> list[int]:
        """Indexes ``start`` to ``start + count`` of the endless row of a set's permutations."""
        drawn: list[int] = []
        while len(drawn) < count:
            turn, offset = divmod(start + len(drawn), size)
            order = np.random.default_rng([self.seed, number, turn]).permutation(size)
            drawn += order[offset : offset + count - len(drawn)].tolist()
        return drawn


def fixed_batches(keys: Sequence[str], batch_size: int, processes: int, rank: int) -> Batches:
    """Validation batches of one process: the keys as they come, all of them.

    Raises:
        ConfigError: there are fewer keys than processes.
    """
    if len(keys) < processes:
        raise ConfigError(
            "valid_dir",
            [f"{len(keys)} utterance(s) cannot be shared by {processes} processes; add some"],
        )
    size = max(batch_size, processes)
    batches = [list(keys[start : start + size]) for start in range(0, len(keys), size)]
    if len(batches[-1]) < processes:
        batches[-2:] = [batches[-2] + batches[-1]]
    return [batch[rank::processes] for batch in batches]
