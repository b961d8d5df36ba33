"""The ten tasks of SUPERB as S3PRL implements them, and where their scores are found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Metric:
    """One score of a task."""

    name: str
    """Name in the tables, e.g. ``WER``."""

    key: str
    """Key under which S3PRL logs it."""

    direction: str
    """``lower`` or ``higher`` is better."""

    scale: float = 100.0
    """Factor that turns S3PRL's value into ``unit``."""

    unit: str = "%"
    """Per cent, or empty for MTWV, which the tables print as a fraction."""


@dataclass(frozen=True)
class Task:
    """One task of SUPERB as S3PRL implements it."""

    name: str
    """Short name of the benchmark, e.g. ``ASR``."""

    downstream: str
    """S3PRL's folder, its ``-d``."""

    metrics: tuple[Metric, ...]
    """The scores; checkpoints are compared by the first one."""

    dev: str = "dev"
    """Split on which the checkpoint is chosen."""

    test: str = "test"
    """Split of the published score."""

    best: str = "dev-best.ckpt"
    """Name of the checkpoint that was best on ``dev``; empty where S3PRL keeps none."""

    corpus: str = ""
    """Value of ``corpus.name`` that tells tasks of one folder apart."""

    flow: str = "best"
    """What a command without ``-m`` does, see :mod:`s3prl_upstreams.flows`."""

    dev_metrics: tuple[Metric, ...] = ()
    """What S3PRL itself logs where the scores exist for ``test`` alone; empty = ``metrics``."""

    @property
    def config(self) -> str:
        """Name of the file in ``conf/superb``."""
        return self.name.lower()

    def metrics_of(self, split: str) -> tuple[Metric, ...]:
        """Return the scores that a split has."""
        return self.metrics if split == self.test else self.dev_metrics or self.metrics


_ACCURACY = Metric("accuracy", "acc", "higher")

TASKS: tuple[Task, ...] = (
    Task("PR", "ctc", (Metric("PER", "per", "lower"),), corpus="libriphone"),
    Task(
        "ASR",
        "asr",
        (Metric("WER", "wer", "lower", scale=1.0),),
        dev="dev-clean",
        test="test-clean",
        best="dev-clean-best.ckpt",
    ),
    Task("KS", "speech_commands", (_ACCURACY,)),
    Task(
        "QbE",
        "quesst14_dtw",
        (Metric("MTWV", "mtwv", "higher", scale=1.0, unit=""),),
        best="",
        flow="layers",
    ),
    Task("SID", "voxceleb1", (_ACCURACY,)),
    Task("ASV", "sv_voxceleb1", (Metric("EER", "EER", "lower"),), best="", flow="checkpoints"),
    Task(
        "SD",
        "diarization",
        (Metric("DER", "scored-der", "lower", scale=1.0),),
        best="best-states-dev.ckpt",
        # S3PRL writes what DER is counted from for the test split only, and keeps its best
        # checkpoint by this.
        dev_metrics=(Metric("frame accuracy", "acc", "higher"),),
    ),
    Task("IC", "fluent_commands", (_ACCURACY,)),
    Task(
        "SF",
        "ctc",
        (
            Metric("slot_type_f1", "slot_type_f1", "higher"),
            Metric("slot_value_cer", "slot_value_cer", "lower"),
        ),
        corpus="snips",
    ),
    Task("ER", "emotion", (_ACCURACY,), flow="folds"),
)
"""In the order of the published tables."""


def find_task(name: str | None) -> Task | None:
    """Find a task by its short name in any case (``pr``) or by S3PRL's folder.

    The folder ``ctc`` holds two tasks and stands for the first one, PR.
    """
    if name is None:
        return None
    by_name = (task for task in TASKS if name.lower() == task.name.lower())
    return next(by_name, next((task for task in TASKS if name == task.downstream), None))


def task_of(downstream: str, config: Mapping[str, Any]) -> Task | None:
    """Find the task of a run by S3PRL's folder and the run's configuration."""
    expert = config.get("downstream_expert") or {}
    corpus = str((expert.get("corpus") or {}).get("name", "")).lower()
    for task in TASKS:
        if task.downstream == downstream and task.corpus in ("", corpus):
            return task
    return None
