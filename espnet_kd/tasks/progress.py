"""How far the run is and when it ends: a bar on a terminal, a line a minute in a log."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

import humanfriendly
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

_LOG = logging.getLogger(__name__)

LOG_EVERY_SECONDS = 60.0


class RunClock:
    """Seconds and batches since the run (or its resumption) began, for the time that is left."""

    def __init__(self, first_epoch: int, max_epoch: int) -> None:
        self.first_epoch = first_epoch
        self.max_epoch = max_epoch
        self.started = time.monotonic()

    def left(self, epoch: int, share: float) -> str:
        """Estimated time to the end of the run, when ``share`` of ``epoch`` is done."""
        done = epoch - self.first_epoch + share
        if done <= 0:
            return "unknown time"
        rest = (self.max_epoch - epoch + 1 - share) * (time.monotonic() - self.started) / done
        return str(humanfriendly.format_timespan(rest, max_units=2))


class Progress:
    """Iterate over the batches of one epoch and say where we are."""

    def __init__(self, batches: Iterable[Any], epoch: int, clock: RunClock, *, show: bool) -> None:
        self.batches = batches
        self.epoch = epoch
        self.clock = clock
        self.show = show

    def __len__(self) -> int:
        # A stream raises TypeError, as ESPnet expects.
        return len(self.batches)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        if not self.show:
            yield from self.batches
        elif sys.stderr.isatty():
            yield from self._bar()
        else:
            yield from self._lines()

    def _total(self) -> int | None:
        try:
            return len(self)
        except TypeError:
            return None

    def _bar(self) -> Iterator[Any]:
        total = self._total()
        title = f"epoch {self.epoch}/{self.clock.max_epoch}"
        with (
            logging_redirect_tqdm(),
            tqdm(self.batches, desc=title, total=total, leave=False, dynamic_ncols=True) as bar,
        ):
            for number, batch in enumerate(bar, 1):
                yield batch
                if total:
                    left = self.clock.left(self.epoch, number / total)
                    bar.set_postfix_str(f"whole run: {left} left", refresh=False)

    def _lines(self) -> Iterator[Any]:
        total, spoken = self._total(), time.monotonic()
        for number, batch in enumerate(self.batches, 1):
            yield batch
            if total and time.monotonic() - spoken >= LOG_EVERY_SECONDS:
                spoken = time.monotonic()
                left = self.clock.left(self.epoch, number / total)
                share = f"{100 * number / total:.0f} %"
                _LOG.info(
                    f"epoch {self.epoch}/{self.clock.max_epoch}: {share} done, "
                    f"whole run: about {left} left"
                )
