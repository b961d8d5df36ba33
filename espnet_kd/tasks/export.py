"""From ESPnet's epoch files to a student folder (``config.json`` + ``model.safetensors``)."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from espnet_kd.checkpoints.unpickle import read_pickle
from espnet_kd.errors import CheckpointError, KDError
from espnet_kd.tasks.hooks import RunHooks
from espnet_kd.utils.files import refuse_strangers, write_failure

_LOG = logging.getLogger(__name__)

STUDENT, LAST_STUDENT = "student", "student_last"


def export_run(model: RunHooks, exp: Path, criteria: Sequence[Sequence[str]]) -> None:
    """Export the averaged best epochs to ``exp/student`` and the last epoch to
    ``exp/student_last``; where averages mean nothing, the last epoch to ``exp/student``.
    """
    if not model.exports:
        return
    if not model.exports_averages:
        export_epoch(model, exp, "latest", exp / STUDENT)
        return
    averages = [f"{phase}.{key}.ave" for phase, key, _ in criteria]
    found = [name for name in averages if (exp / f"{name}.pth").exists()]
    if found:
        export_epoch(model, exp, found[0], exp / STUDENT)
    if (exp / "latest.pth").exists():
        export_epoch(model, exp, "latest", exp / LAST_STUDENT)


def export_epoch(model: RunHooks, exp: Path, epoch: str, target: Path) -> None:
    """Export one epoch file.

    Args:
        model: built from the run's configuration; its weights are not touched.
        exp: the run's folder.
        epoch: a file of it without ``.pth``: ``valid.loss.ave``, ``latest``, ``12epoch``; or
            ``12``.
        target: replaced as a whole when everything is written.

    Raises:
        CheckpointError: there is no such file, or it is damaged.
        KDError: the target cannot be written (full disk).
    """
    export_states(model, read_states(exp, epoch), target)
    _LOG.info(f"student of {epoch} written to {target}")


def refuse_other_folder(target: Path) -> None:
    """Only an earlier export may be replaced: ``--out EXP`` would be the end of the whole run.

    Raises:
        KDError: the folder that the user named holds other things, or is a file.
    """
    from espnet_kd.whisper.load import FILES  # with transformers, which takes seconds

    ours = ("distill_projections.safetensors", "pruning.*", "profile*.json", ".done*")  # recipes'
    refuse_strangers(target, (*FILES, *ours))


def export_states(model: RunHooks, states: dict[str, torch.Tensor], target: Path) -> None:
    """Export weights that were read from an epoch file.

    Args:
        model: see :func:`export_epoch`.
        states: the weights.
        target: likewise.

    Raises:
        KDError: the target cannot be written (full disk, no permission).
    """
    staging: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        model.export(states, staging)
        staging.chmod(0o755)
        _replace_folder(staging, target)
    except OSError as error:
        raise KDError(write_failure(target, error)) from error
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)


def read_states(exp: Path, epoch: str) -> dict[str, torch.Tensor]:
    """The weights of an epoch file (read without executing anything in it)."""
    path = (
        exp / f"{epoch}epoch.pth" if epoch.isdigit() else exp / f"{epoch.removesuffix('.pth')}.pth"
    )
    if not path.exists():
        there = ", ".join(sorted(p.stem for p in exp.glob("*.pth") if p.stem != "checkpoint"))
        raise CheckpointError(f"{path}: no such file; {exp} has: {there or 'no epoch files'}")
    states: dict[str, torch.Tensor] = read_pickle(path)
    return states


def _replace_folder(new: Path, target: Path) -> None:
    if not target.exists():
        os.replace(new, target)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
    os.replace(target, old)
    os.replace(new, target)
    shutil.rmtree(old)
