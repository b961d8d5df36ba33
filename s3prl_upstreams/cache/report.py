"""What the cache did, in one line."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_said: set[str] = set()


@dataclass
class Tally:
    """Counts of one run; a unit is what the mode keeps: a batch or an utterance."""

    hits: int = 0
    """Units that were there."""
    misses: int = 0
    """Units that were computed."""
    hit_samples: int = 0
    """Samples of the former."""
    filled: int = 0
    """Units computed before the batches that want them."""
    computed: int = 0
    """Samples that went through the upstream."""
    computing: float = 0.0
    """Wall seconds inside the upstream."""
    fetching: float = 0.0
    """Wall seconds for keys and stored features."""

    def count(self, samples: int, hit: bool) -> None:
        """Count one unit."""
        if hit:
            self.hits += 1
            self.hit_samples += samples
        else:
            self.misses += 1

    @property
    def saved(self) -> float:
        """Seconds that the units found would have taken at the pace of the others, less theirs."""
        pace = self.computing / self.computed if self.computed else 0.0
        return pace * self.hit_samples - self.fetching

    @contextmanager
    def clock(self, name: str) -> Iterator[None]:
        """Add the block's wall seconds to ``computing`` or ``fetching``."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            setattr(self, name, getattr(self, name) + time.perf_counter() - begin)


def size(count: float) -> str:
    """Bytes for a reader: ``12.3 MB``."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def say(line: str) -> None:
    """Say something on stderr."""
    print(f"[espnet_kd] feature cache: {line}", file=sys.stderr)


def say_once(line: str) -> None:
    """Say something that the next batches would repeat."""
    if line not in _said:
        _said.add(line)
        say(line)
