"""Losses that are not finite: skipped, counted, attributed, and stopped when they do not end.

ESPnet skips an update whose gradient norm is not finite, on all ranks alike. This guard sees how
many
updates in a row that happened to (each forward since the last real update counts) and remembers
which utterances were in the bad batches.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence

import torch
from torch import Tensor

from espnet_kd.errors import KDError
from espnet_kd.tasks.teacher import View

_LOG = logging.getLogger(__name__)

_REMEMBERED = 8


class TrainingStoppedError(KDError):
    """Too many updates in a row were not finite."""


class FiniteGuard:
    """Counts forwards without an update; told about updates by the optimiser's hook."""

    def __init__(self, max_bad_steps: int, accum_grad: int = 1) -> None:
        self.max_bad_steps = max_bad_steps
        self.accum_grad = accum_grad
        self.forwards = 0
        self.bad_batches = 0
        self.recent: deque[str] = deque(maxlen=_REMEMBERED)

    def updated(self) -> None:
        """The optimiser has made a real update."""
        self.forwards = 0
        self.recent.clear()

    def before_forward(self) -> None:
        """Count one training batch.

        Raises:
            TrainingStoppedError: ``max_bad_steps`` updates in a row were skipped; it is raised on
                all
                ranks at the same batch, because updates are skipped on all of them.
        """
        if self.forwards >= self.max_bad_steps * self.accum_grad:
            seen = "; ".join(self.recent) or "none on this rank (its losses were finite)"
            raise TrainingStoppedError(
                f"the last {self.max_bad_steps} updates were skipped because of NaN or infinity. "
                f"Last bad batches: {seen}. Lower optim_conf.lr, look at these recordings, or "
                f"train "
                "with --use_amp false. Epochs that were completed are saved"
            )
        self.forwards += 1

    def check(self, loss: Tensor, utterances: Sequence[str], views: Sequence[View | None]) -> None:
        """Log a loss that is not finite, with its utterances and whether the teacher is at
        fault.
        """
        if bool(torch.isfinite(loss.detach()).all()):
            return
        self.bad_batches += 1
        culprit = teacher_fault(utterances, views) or f"the student's loss is {loss.item():g}"
        note = f"{', '.join(utterances)} ({culprit})"
        self.recent.append(note)
        _LOG.warning(f"batch skipped ({self.bad_batches} so far): {note}")


def teacher_fault(utterances: Sequence[str], views: Sequence[View | None]) -> str | None:
    """Which utterances the teacher turned into NaN or infinity, or None if its outputs are
    finite.
    """
    bad: set[str] = set()
    for view in views:
        for layer_BTD in view.layers if view is not None else []:
            fine_B = torch.isfinite(layer_BTD).flatten(1).all(dim=1).tolist()
            bad.update(name for name, fine in zip(utterances, fine_B, strict=True) if not fine)
    if not bad:
        return None
    return (
        f"the TEACHER's output is NaN or infinite for {', '.join(sorted(bad))}: check its "
        f"checkpoint, "
        "or its range in half precision"
    )
