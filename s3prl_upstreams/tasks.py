"""The SUPERB tasks that have a configuration here, and where their score is found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """One task of SUPERB as S3PRL implements it."""

    name: str
    """Short name of the benchmark, e.g. ``ASR``."""

    downstream: str
    """S3PRL's folder, its ``-d``."""

    config: str
    """Name of the file in ``conf/superb``."""

    metric: str
    """Name of the score, e.g. ``WER``."""

    key: str
    """Key under which S3PRL logs the score."""

    scale: float
    """Factor that turns S3PRL's value into per cent."""

    direction: str
    """``lower`` or ``higher`` is better."""

    dev: str = "dev"
    """Split on which the checkpoint is chosen."""

    test: str = "test"
    """Split of the published score."""


TASKS: tuple[Task, ...] = (
    Task("ASR", "asr", "asr", "WER", "wer", 1.0, "lower", dev="dev-clean", test="test-clean"),
    Task("PR", "ctc", "pr", "PER", "per", 100.0, "lower"),
    Task("KS", "speech_commands", "ks", "accuracy", "acc", 100.0, "higher"),
    Task("SID", "voxceleb1", "sid", "accuracy", "acc", 100.0, "higher"),
)


def find_task(name: str | None) -> Task | None:
    """Find a task by S3PRL's folder (``ctc``) or by its short name in any case (``pr``)."""
    for task in TASKS:
        if name is not None and name.lower() in {task.downstream, task.name.lower()}:
            return task
    return None
