"""The picture of a pruning run: what is left of each layer, and how the gates got there."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from espnet_kd.evaluation.plots import grid, save

KEPT, REMOVED = "#0072B2", "#DDDDDD"
KINDS = (
    ("conv", "channels", "convolution"),
    ("heads", "heads", "layer"),
    ("units", "units", "layer"),
)
"""Word in a part's name, key in the log, label of the position axis."""


def draw_pruning(
    report: Mapping[str, Any],
    log: Sequence[Mapping[str, Any]],
    path: str | os.PathLike[str],
) -> None:
    """Draw bars of kept units per layer and, with a log, curves of sparsity, multipliers, units.

    Args:
        report: content of ``pruning.json``.
        log: lines of ``pruning.jsonl``; may be empty.
        path: PNG file to write.
    """
    figure, axes = grid(6 if log else 3, width=4.2, height=3.0)
    for axis, (word, _, label) in zip(axes, KINDS, strict=False):
        _bars(axis, [part for part in report["parts"] if word in part["name"].split()], word, label)
    if log:
        _curves(axes[3], log, {"expected": "sparsity_expected", "target": "sparsity_target"})
        axes[3].set_ylabel("sparsity")
        _curves(axes[4], log, {"λ1": "lambda1", "λ2": "lambda2"})
        axes[4].set_ylabel("multipliers")
        _shares(axes[5], log)
    save(figure, path)


def _bars(axis: Axes, parts: Sequence[Mapping[str, Any]], word: str, label: str) -> None:
    positions = range(len(parts))
    axis.bar(positions, [part["before"] for part in parts], color=REMOVED, label="removed")
    axis.bar(positions, [part["after"] for part in parts], color=KEPT, label="kept")
    axis.set_xlabel(label)
    axis.set_ylabel("channels" if word == "conv" else word)
    axis.legend(fontsize="small")


def _curves(axis: Axes, log: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> None:
    updates = [line["updates"] for line in log]
    for label, name in names.items():
        axis.plot(updates, [line[name] for line in log], label=label)
    axis.set_xlabel("updates")
    axis.legend(fontsize="small")


def _shares(axis: Axes, log: Sequence[Mapping[str, Any]]) -> None:
    """Kept units of each kind, as a share of the first line's."""
    updates = [line["updates"] for line in log]
    for _, name, _ in KINDS:
        first = max(1, sum(log[0][name]))
        axis.plot(updates, [sum(line[name]) / first for line in log], label=name)
    axis.set_xlabel("updates")
    axis.set_ylabel("kept (first line = 1)")
    axis.legend(fontsize="small")
