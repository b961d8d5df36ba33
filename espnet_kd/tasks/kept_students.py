"""Students of the best and of the last epochs as ready folders, while the run goes on.

``OUTPUT_DIR/students`` holds them under Distil-Whisper's names, e.g.
``checkpoint-900-epoch-3-val-wer-12.500``. A folder appears when it is complete; one that is no
longer among the best disappears after its successor is there. What a kill left undone is done when
the run goes on: names alone say which epochs are there and how good they are.
"""

from __future__ import annotations

import contextlib
import logging
import math
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest import mock

import torch
from espnet2.train import trainer
from espnet2.train.reporter import Reporter

from espnet_kd.tasks.export import export_states, read_states
from espnet_kd.tasks.hooks import RunHooks, StudentLimits
from espnet_kd.whisper.checkpoint_names import CheckpointName, by_step, too_many, worst_first

_LOG = logging.getLogger(__name__)

STUDENTS = "students"
"""Folder of a run."""

_EPOCH_FILE = re.compile(r"(\d+)epoch\.pth")


class StudentKeeper:
    """Keeps the folders of one run up to date.

    Args:
        model: exports the students; its weights are not touched.
        exp: the run's folder.
        criterion: phase, key and ``min`` or ``max``: which epochs are best.
        limits: how many are kept.
    """

    def __init__(
        self, model: RunHooks, exp: Path, criterion: Sequence[str], limits: StudentLimits
    ) -> None:
        self.model = model
        self.exp = exp
        self.phase, self.key, mode = criterion
        self.criterion = f"{'val' if self.phase == 'valid' else self.phase}-{self.key}"
        self.higher_is_better = mode == "max"
        self.limits = limits
        self.seen: set[int] = set()

    def update(self, reporter: Reporter) -> None:
        """Make the folders of epochs that were saved since, and remove those that are too many.

        Args:
            reporter: knows the values of all epochs.

        Raises:
            KDError: the disk is full.
            CheckpointError: an epoch file is damaged.
        """
        if not (self.limits.best or self.limits.last):
            return
        for path in (self.exp / STUDENTS).glob(".*"):  # what a kill left half done
            shutil.rmtree(path, ignore_errors=True)
        for epoch in self._saved():
            if epoch not in self.seen:
                self._add(epoch, reporter)
                self.seen.add(epoch)

    def _saved(self) -> list[int]:
        names = (_EPOCH_FILE.fullmatch(path.name) for path in self.exp.glob("*epoch.pth"))
        return sorted(int(name[1]) for name in names if name is not None)

    def _add(self, epoch: int, reporter: Reporter) -> None:
        states = read_states(self.exp, str(epoch))
        there = self._there()
        wanted = [name for name in self._names(epoch, states, reporter) if name not in there]
        gone = self._too_many([*there, *wanted])
        for name in wanted:
            if name not in gone:
                export_states(self.model, states, self.exp / STUDENTS / name)
                _LOG.info(f"student of epoch {epoch} written to {self.exp / STUDENTS / name}")
        for name in gone.intersection(there):
            # Under its name a folder is complete, or is not there.
            hidden = (self.exp / STUDENTS / name).rename(self.exp / STUDENTS / f".{name}")
            shutil.rmtree(hidden, ignore_errors=True)

    def _there(self) -> list[str]:
        """Folders of ours; those of another criterion are an earlier run's."""
        names = [path.name for path in (self.exp / STUDENTS).glob("checkpoint-*") if path.is_dir()]
        found = [(name, CheckpointName.parse(name)) for name in names]
        return [name for name, read in found if read and read.criterion in ("", self.criterion)]

    def _names(self, epoch: int, states: dict[str, torch.Tensor], reporter: Reporter) -> list[str]:
        step = int(states["num_updates"])
        names = [CheckpointName(step, epoch)]
        if reporter.has(self.phase, self.key, epoch):
            # Reporter.get_value asks for the running epoch's, whatever epoch it is told.
            value = float(reporter.stats[epoch][self.phase][self.key])
            if math.isfinite(value):
                names.append(CheckpointName(step, epoch, self.criterion, value))
        return [str(name) for name in names]

    def _too_many(self, names: list[str]) -> set[str]:
        ranked = worst_first(names, higher_is_better=self.higher_is_better)
        return {
            *too_many(by_step(names), self.limits.last),
            *too_many(ranked, self.limits.best),
        }


@contextlib.contextmanager
def reporters_seen() -> Iterator[list[Reporter]]:
    """Reporters that ESPnet's trainer makes within the block; it keeps them to itself."""
    made: list[Reporter] = []

    class Seen(Reporter):
        def __init__(self, epoch: int = 0) -> None:
            super().__init__(epoch)
            made.append(self)

    with mock.patch.object(trainer, "Reporter", Seen):
        yield made
