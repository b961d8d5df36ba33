"""Cuts of long recordings at a few fixed places instead of anywhere.

SID and ASV train on 8 s of longer recordings, KS on 1 s of its noise, cut at any sample: a cut
never comes again, so nothing can be reused. With N places, evenly spaced, each comes again.
"""

from __future__ import annotations

import importlib
import random
from typing import Any

_DRAWS = {
    "voxceleb1": ("s3prl.downstream.voxceleb1.dataset", "random"),
    "sv_voxceleb1": ("s3prl.downstream.sv_voxceleb1.dataset", "random"),
    "speech_commands": ("s3prl.downstream.speech_commands.dataset", "randint"),
}
"""Task -> module and name by which it draws the beginning of a cut."""


class Places:
    """Stands in a module's ``random``: draws one of ``count`` evenly spaced integers.

    Args:
        count: 0 = any integer, as ``random`` does.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.only: int | None = None
        """Draw the place of this index, for whoever wants all of them."""
        self.draws = 0
        """Draws so far."""

    def randint(self, low: int, high: int) -> int:
        """Draw from ``low`` to ``high``; a single place is the middle."""
        self.draws += 1
        if self.count == 0:
            return random.randint(low, high)
        chosen = random.randrange(self.count) if self.only is None else self.only
        share = 0.5 if self.count == 1 else chosen / (self.count - 1)
        return low + round((high - low) * share)

    def __getattr__(self, name: str) -> Any:
        return getattr(random, name)


def where_crops_are_drawn(task: str) -> tuple[Any, str] | None:
    """Return module and attribute that draw a task's cuts; None = it does not cut."""
    if task not in _DRAWS:
        return None
    module, name = _DRAWS[task]
    return importlib.import_module(module), name


def stand_in(name: str, places: Places) -> Any:
    """Return what takes the place of ``random`` or ``randint``."""
    return places.randint if name == "randint" else places
