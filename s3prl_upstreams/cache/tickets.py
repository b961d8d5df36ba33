"""Waves that need not be read again: tickets in place of samples whose features are in the store.

A step of a pooled head takes less than a millisecond, reading its recordings many. Once a split has
been computed, its items are kept in memory with a ticket for each wave: a short array that passes
through S3PRL's loaders and runner like samples, and that names the store's entry.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from s3prl_upstreams.cache.crops import Places
from s3prl_upstreams.cache.keys import KEY_BYTES

_MARK = np.float32(3e38)
"""No sample, which are within [-1, 1]."""
_HALF = 1 << 20
_HEAD = 3


def make_ticket(key: bytes, samples: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Write a ticket: mark, samples in two numbers, bytes of the key."""
    head = [_MARK, samples // _HALF, samples % _HALF]
    return np.array([*head, *key], dtype=np.float32)


def read_ticket(wav: Tensor) -> tuple[bytes, int] | None:
    """Return key and samples of a ticket; None = it is a wave."""
    if len(wav) != _HEAD + KEY_BYTES or wav[0] != _MARK:
        return None
    _, high, low, *key = map(int, wav.tolist())
    return bytes(key), high * _HALF + low


Item = tuple[Any, ...]
"""A wave first, then what the task wants to know of it."""


class Options(Dataset[tuple[int, list[Item]]]):
    """Numbers of a dataset's items, with the forms that each can have.

    One form, or one for each fixed place at which it is cut; none when it is cut anywhere.
    """

    def __init__(self, dataset: Any, places: Places) -> None:
        self.dataset, self.places = dataset, places

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[int, list[Item]]:
        self.places.only, self.places.draws = 0, 0
        first = self.dataset[index]
        if self.places.draws == 0:
            return index, [first]
        return index, [first, *(self.at(index, p) for p in range(1, self.places.count))][
            : self.places.count
        ]

    def at(self, index: int, place: int) -> Item:
        """Return an item cut at one place."""
        self.places.only = place
        item: Item = self.dataset[index]
        return item


class TicketDataset(Dataset[Any]):
    """A dataset of S3PRL whose items are known already, where they are.

    Args:
        dataset: the task's; all of its other attributes are found here too.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        self.known: dict[int, list[Item]] = {}
        """Forms of the items that were computed; none = to be read each time."""

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def complete(self) -> bool:
        """Whether there is nothing left that was never looked at."""
        return len(self.known) == len(self)

    def __getitem__(self, index: int) -> Any:
        forms = self.known.get(index)
        if not forms:
            return self.dataset[index]
        return forms[0] if len(forms) == 1 else random.choice(forms)

    def __getattr__(self, name: str) -> Any:
        # Not __getitems__, by which torch would pass us by; nor what copying asks for.
        if name.startswith("__") or name == "dataset":
            raise AttributeError(name)
        return getattr(self.dataset, name)


class TicketBook:
    """Where the wave of a ticket comes from, should its entry be lost."""

    def __init__(self) -> None:
        self._origins: dict[bytes, tuple[Options, int, int]] = {}

    def note(self, key: bytes, options: Options, index: int, form: int) -> None:
        """Remember where a wave was."""
        self._origins[key] = (options, index, form)

    def wave(self, key: bytes) -> Tensor:
        """Read it again."""
        options, index, form = self._origins[key]
        before = options.places.only
        try:
            item = options.at(index, form)
        finally:
            options.places.only = before
        return torch.as_tensor(item[0], dtype=torch.float32)
