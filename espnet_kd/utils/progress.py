"""How far a long command is and when it ends: a bar on a terminal, a line a minute in a log."""

from __future__ import annotations

import logging
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from tqdm import tqdm

if TYPE_CHECKING:
    from typing_extensions import Self

LOG_EVERY_SECONDS = 60.0
_LOG = logging.getLogger(__name__)


class Progress:
    """Say how much of something is done; used as a context."""

    def __init__(self, title: str, total: float | None, unit: str) -> None:
        """Begin to count.

        Args:
            title: what is done.
            total: how much there is; None = unknown, then only the rate is said.
            unit: e.g. ``h`` of speech.
        """
        self.title = title
        self.total = total
        self.unit = unit
        self.done = 0.0
        self._first: float | None = None
        self._started = self._spoken = time.monotonic()
        self._bar: tqdm[None] | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._bar = tqdm(
                desc=self.title,
                total=self.total,
                dynamic_ncols=True,
                smoothing=0,
                bar_format="{desc}: {percentage:3.0f}%|{bar}| {n:.2f}/{total:.2f} {unit} "
                "[{elapsed}<{remaining}{postfix}]"
                if self.total
                else "{desc}: {n:.2f} {unit} [{elapsed}{postfix}]",
                unit=self.unit,
            )
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def reach(self, done: float, note: str = "") -> None:
        """Say that ``done`` of the total is done; what the first call says was done before."""
        if self._first is None:
            self._first = done
            self._started = time.monotonic()
        step, self.done = done - self.done, done
        if self._bar is not None:
            if step == done:  # what an earlier run did is no speed of this one
                self._bar.initial = done
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(step)
        elif time.monotonic() - self._spoken >= LOG_EVERY_SECONDS:
            self._spoken = time.monotonic()
            _LOG.info(self.line(note))

    def line(self, note: str = "") -> str:
        """One sentence on the state."""
        seconds = time.monotonic() - self._started
        rate = (self.done - (self._first or 0.0)) / seconds if seconds > 0 else 0.0
        said = f"{self.title}: {self.done:.2f} {self.unit}"
        if self.total:
            said += f" of {self.total:.2f} ({100 * self.done / self.total:.0f} %)"
            if rate > 0:
                left = max(0.0, self.total - self.done) / rate
                said += f", about {tqdm.format_interval(left)} left"
        return f"{said}; {note}" if note else said
