"""Batches of so many seconds out of utterances of similar length (DPHuBERT's bucketing).

Lengths are samples, utterances are their positions in the list of lengths. The published pipeline
sorts into 1000 buckets by length and fills batches bucket by bucket without shuffling, which is the
sorted order. Nothing here draws numbers but :func:`permuted`, so a run that is started again sees
the same batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class LengthLimits:
    """Which utterances are used and how much of them, all in samples."""

    shortest: int
    """Shorter utterances are left out."""

    longest: int
    """Longest utterance, or piece of one, that is used."""

    per_batch: int
    """Most samples of one batch."""

    crop_longer: bool
    """Longer utterances stay and count as ``longest`` (True), or are left out (published)."""

    def usable(self, lengths: Sequence[int]) -> list[int]:
        """Positions of the utterances that are used."""
        most = max(lengths, default=0) if self.crop_longer else self.longest
        return [i for i, length in enumerate(lengths) if self.shortest <= length <= most]


def fill_batches(lengths: Sequence[int], limits: LengthLimits) -> list[list[int]]:
    """Sort the usable utterances by length and cut the list where a batch is full.

    Returns:
        Positions, shortest utterances first; those of equal length keep their order.
    """
    kept = {i: min(lengths[i], limits.longest) for i in limits.usable(lengths)}
    batches: list[list[int]] = []
    filled = limits.per_batch + 1
    for i in sorted(kept, key=kept.__getitem__):
        filled += kept[i]
        if filled > limits.per_batch:
            batches.append([])
            filled = kept[i]
        batches[-1].append(i)
    return batches


def permuted(batches: Sequence[T], seed: int) -> list[T]:
    """The batches in the random order of ``seed``."""
    order = torch.randperm(len(batches), generator=torch.Generator().manual_seed(seed))
    return [batches[i] for i in order.tolist()]


def halve_to_multiple(batches: Sequence[Sequence[T]], processes: int) -> list[list[T]]:
    """Halve the batches with most utterances until every process gets equally many batches.

    Where nothing is left to halve, the first batches come again.
    """
    parts = [list(batch) for batch in batches]
    while len(parts) % processes:
        most = max(range(len(parts)), key=lambda i: len(parts[i]))
        middle = len(parts[most]) // 2
        if middle == 0:
            missing = processes - len(parts) % processes
            return [*parts, *(list(parts[i % len(parts)]) for i in range(missing))]
        parts[most : most + 1] = [parts[most][:-middle], parts[most][-middle:]]
    return parts


def share(ordered: Sequence[T], processes: int, rank: int) -> list[T]:
    """Every ``processes``-th batch from ``rank`` on."""
    return list(ordered[rank::processes])


def share_published(ordered: Sequence[T], processes: int, rank: int) -> list[T]:
    """The published share: the first batches are repeated at the end.

    There are as many repeated ones as are missing to a multiple of ``processes``, and
    ``processes`` of them where none is missing.
    """
    extra = processes - len(ordered) % processes
    padded = [*ordered, *(ordered[i % len(ordered)] for i in range(extra))]
    return share(padded, processes, rank)
