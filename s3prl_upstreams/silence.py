"""The silence effect of sox (14.4.2) on one channel, as speaker verification cuts pauses with it.

A recording starts with a pause. What follows a pause is kept from where the level has been above a
threshold for a while; what is being kept ends where it has been at or below one for a while, and
that while is dropped, too. The level is the root mean square of the last 20 ms, from zero again
after each pause. Checked sample by sample against the program.

Shape suffix: S samples, int32 over its whole range as sox computes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.int32]

_FULL = 2**31
_WINDOWS_PER_SECOND = 50


@dataclass(frozen=True)
class SilenceEffect:
    """``silence 1 DURATION THRESHOLD% -1 DURATION THRESHOLD%``."""

    start_seconds: float
    """Speech must last so long to end a pause."""
    start_threshold: float
    """Level in per cent of full scale that is above a pause's."""
    stop_seconds: float
    """A pause must last so long to be cut."""
    stop_threshold: float
    """Level in per cent of full scale up to which it is one."""

    @classmethod
    def parse(cls, words: Sequence[str]) -> SilenceEffect | None:
        """Read the effect's words; None = of another form than the one above."""
        try:
            name, once, start, above, every, stop, below = words
            if (name, once, every) != ("silence", "1", "-1"):
                return None
            levels = [float(level.removesuffix("%")) for level in (above, below)]
            return cls(float(start), levels[0], float(stop), levels[1])
        except ValueError:
            return None

    def apply(self, x_S: Samples, rate: int) -> Samples:
        """Return the samples that are kept."""
        kept_S = np.zeros(len(x_S), dtype=bool)
        _compiled()(
            x_S,
            kept_S,
            rate // _WINDOWS_PER_SECOND,
            _samples(self.start_seconds, rate),
            self.start_threshold,
            _samples(self.stop_seconds, rate),
            self.stop_threshold,
        )
        return x_S[kept_S]


def _samples(seconds: float, rate: int) -> int:
    return int(seconds * rate + 0.5)


@functools.cache
def _compiled() -> Callable[..., None]:
    """The loop over samples, compiled; numba comes with librosa, which the task itself imports."""
    from numba import njit

    compiled: Callable[..., None] = njit(cache=False, nogil=True)(_mark)
    return compiled


def _mark(
    x_S: Any, kept_S: Any, window: int, start: int, above: float, stop: int, below: float
) -> None:
    """Mark the samples that are kept.

    Args:
        x_S: samples.
        kept_S: (S,) booleans, all false; changed in place.
        window: samples of the level.
        start: samples of speech that end a pause.
        above: level of speech in per cent.
        stop: samples of a pause that are cut.
        below: level of a pause in per cent.
    """
    squares = np.zeros(window)
    place, total, held = 0, 0.0, 0
    in_pause = True
    for index in range(len(x_S)):
        square = float(x_S[index]) * float(x_S[index])
        total = total - squares[place] + square
        squares[place] = square
        place = (place + 1) % window
        # sox keeps the level as an integer.
        level = float(int(np.sqrt(max(total, 0.0) / window))) / _FULL * 100.0
        if in_pause:
            held = held + 1 if level > above else 0
            if held >= start:
                kept_S[index + 1 - held : index + 1] = True
                in_pause, held = False, 0
        elif level > below:
            kept_S[index - held : index + 1] = True
            held = 0
        else:
            held += 1
            if held >= stop:
                squares[:] = 0.0
                place, total, held = 0, 0.0, 0
                in_pause = True
    if not in_pause and held > 0:  # a pause that the end of the recording cut short stays
        kept_S[len(x_S) - held :] = True
