"""What our trainer tells a model about the run; a model implements what it needs of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from espnet2.train.abs_espnet_model import AbsESPnetModel


@dataclass(frozen=True)
class RunInfo:
    """Facts of one run of the trainer."""

    output_dir: Path
    """Where everything is written."""

    seed: int
    """``--seed``."""

    rank: int
    """Of this process, from 0."""

    max_epoch: int
    """Epochs of the whole run."""

    accum_grad: int
    """Batches per update."""

    teacher: str | None
    """``--teacher``."""

    teacher_conf: dict[str, Any]
    """``--teacher_conf``."""


@dataclass(frozen=True)
class StudentLimits:
    """How many epochs have a student folder while the run goes on."""

    best: int = 0
    """Of the best ones."""

    last: int = 0
    """Of the last ones."""


class RunHooks(AbsESPnetModel):
    """Base of our models: counts real updates and knows when run, epoch and validation begin."""

    num_updates: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        # Saved with the model. Averaging sums integers: do not trust it in an averaged file.
        self.register_buffer("num_updates", torch.zeros((), dtype=torch.int64))

    def start_run(self, run: RunInfo) -> None:
        """Real training begins (never called for statistics, dry runs or inference)."""

    def expect_updates(self, updates: int) -> None:
        """The whole run has so many updates (told where its schedule goes by them)."""

    def start_epoch(self, epoch: int) -> None:
        """Training of ``epoch`` (from 1) begins."""

    def training_batches(self, batches: Iterable[Any]) -> Iterable[Any]:
        """The batches of an epoch, as this model wants to see them; of the same number."""
        return batches

    def start_validation(self) -> None:
        """Validation begins."""

    def finish_validation(self) -> dict[str, float]:
        """What validation shows as a whole, beside the means over its batches."""
        return {}

    def updated(self) -> None:
        """The optimiser has made a real update (skipped ones do not count)."""
        self.num_updates += 1

    @property
    def exports(self) -> bool:
        """Whether :meth:`export` writes anything."""
        return True

    @property
    def exports_averages(self) -> bool:
        """Whether the mean of the best epochs is worth exporting; else the last epoch is."""
        return True

    def student_limits(self, nbest: int) -> StudentLimits:
        """How many epochs are exported during the run; ``nbest`` of them keep their epoch file."""
        return StudentLimits()

    def export(self, states: dict[str, torch.Tensor], folder: Path) -> None:
        """Write what users want of these weights (of this model, from an epoch file) to
        ``folder``.
        """
