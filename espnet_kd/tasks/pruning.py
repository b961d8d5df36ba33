"""Structured pruning in a distillation run: its log and its export."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from espnet_kd.encoder import SpeechEncoder
from espnet_kd.pruning import PruneReport, PruningConfig, StructuredPruning, prune_encoder
from espnet_kd.utils.files import write_json, write_text
from espnet_kd.utils.weights import load_strictly

LOG = "pruning.jsonl"
"""In the run's folder: one line of plain numbers every ``log_every`` updates."""

REPORT = "pruning.json"
"""In an exported folder: what was removed, as data; ``pruning.txt`` holds it as a table."""


class PruningLog:
    """Appends lines to ``pruning.jsonl``; lines after the update that is resumed from are dropped.

    Args:
        file: the log.
        every: updates between two lines.
    """

    def __init__(self, file: Path, every: int) -> None:
        self.file = file
        self.every = every

    def drop_after(self, updates: int) -> None:
        """Forget what a run that was cut short wrote after ``updates`` updates."""
        if self.file.exists():
            kept = [line for line in read_log(self.file) if line["updates"] <= updates]
            write_text(self.file, "".join(json.dumps(line) + "\n" for line in kept))

    def add(self, updates: int, pruning: StructuredPruning) -> None:
        """Write a line if it is time for one."""
        if updates % self.every == 0:
            with self.file.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(pruning.summary(updates)) + "\n")


def read_log(file: Path) -> list[dict[str, Any]]:
    """All lines of a ``pruning.jsonl``, oldest first."""
    # What follows the last line break was cut short by a kill.
    complete = file.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in complete]


def against_target(report: PruneReport, options: PruningConfig) -> dict[str, Any]:
    """How near the pruned encoder came: ``measure``, ``target``, ``reached`` and ``off_target``."""
    before, after = report.parameters if options.target == "params" else report.macs
    reached = 1.0 - after / before
    return {
        "measure": options.target,
        "target": options.target_sparsity,
        "reached": reached,
        "off_target": abs(reached - options.target_sparsity),
    }


def export_pruned(
    student: SpeechEncoder, pruning: StructuredPruning, states: Mapping[str, Tensor], folder: Path
) -> PruneReport:
    """Write the physically pruned student and what was removed to ``folder``.

    Args:
        student: with the weights of the epoch.
        pruning: of the run; takes over the epoch's gates.
        states: the epoch's weights of ``pruning``.
        folder: gets ``config.json``, ``model.safetensors``, ``pruning.json``, ``pruning.txt``.

    Raises:
        PruningError: nothing that could be an encoder is left.
    """
    gates = StructuredPruning(student, pruning.options)
    load_strictly(gates, states, "the epoch file")
    pruned, report = prune_encoder(
        student,
        gates.masks(),
        exact=pruning.options.exact_statistics,
        macs_seconds=pruning.options.macs_seconds,
    )
    pruned.save_pretrained(folder)
    write_json(folder / REPORT, {**report.to_dict(), **against_target(report, pruning.options)})
    write_text(folder / "pruning.txt", report.table() + "\n")
    return report
