"""How well a measure finds bad labels: ROC-AUC against the true WER, and what filtering gains.

Convention (spec whisper.md 7): positive is an utterance whose true WER is below a threshold, the
score is a quality (a measure that is better when lower is negated). AUC 0.5 is chance, 1 perfect.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from sklearn.metrics import roc_auc_score, roc_curve

from espnet_kd.errors import DataDirError
from espnet_kd.evaluation.plots import grid, save

THRESHOLDS = (20.0, 40.0, 80.0)
"""WER in percent below which a label counts as good."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#555555", "#B22222",
           "#8B6BB1", "#6B8E23", "#20B2AA")  # fmt: skip
"""Okabe-Ito colours first; line styles change too."""

STYLES = ("-", "--", "-.", ":")


@dataclass(frozen=True)
class Ranking:
    """One measure on the utterances that have both a score and a true WER."""

    name: str
    """The measure."""

    wer: npt.NDArray[np.float64]
    """True WER in percent, one per utterance."""

    quality: npt.NDArray[np.float64]
    """Score, higher is better."""

    def auc(self, threshold: float) -> float | None:
        """Area under the ROC curve; None where all labels are good, or none is."""
        good = self.wer < threshold
        if good.all() or not good.any():
            return None
        return float(roc_auc_score(good, self.quality))

    def curve(self, threshold: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Share of bad labels kept and share of good labels kept, from strict to loose."""
        false_positive, true_positive, _ = roc_curve(self.wer < threshold, self.quality)
        return false_positive, true_positive

    def coverage(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Share of labels kept (best first) and the mean true WER of those kept, in percent."""
        order = np.argsort(-self.quality, kind="stable")
        counts = np.arange(1, len(order) + 1)
        return counts / len(order), np.cumsum(self.wer[order]) / counts


def make_ranking(
    name: str,
    wer: Mapping[str, float | None],
    scores: Mapping[str, float | None],
    *,
    higher_is_better: bool,
) -> Ranking:
    """Put scores beside true WERs; utterances that lack either are left out.

    Args:
        name: the measure.
        wer: utterance to true WER in percent.
        scores: utterance to score.
        higher_is_better: direction of the score.

    Raises:
        DataDirError: nothing is left.
    """
    pairs = [
        (truth, score if higher_is_better else -score)
        for key, score in scores.items()
        if score is not None and (truth := wer.get(key)) is not None
    ]
    if not pairs:
        raise DataDirError(
            f"measure {name} cannot be evaluated: no utterance has a reference and a score"
        )
    values = np.asarray(pairs, dtype=np.float64)
    return Ranking(name, values[:, 0], values[:, 1])


def auc_records(
    rankings: Sequence[Ranking], thresholds: Sequence[float] = THRESHOLDS
) -> list[dict[str, object]]:
    """One JSON record per measure: utterances, and the AUC at each threshold."""
    return [
        {
            "measure": ranking.name,
            "utterances": len(ranking.wer),
            "auc": {f"{threshold:g}": ranking.auc(threshold) for threshold in thresholds},
        }
        for ranking in rankings
    ]


def auc_table(rankings: Sequence[Ranking], thresholds: Sequence[float] = THRESHOLDS) -> str:
    """A Markdown table of AUCs, the mean true WER of all labels and of the best half."""
    heads = [f"AUC, good: WER < {threshold:g}" for threshold in thresholds]
    head = ["measure", "utterances", *heads, "mean WER", "of the best half"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for ranking in rankings:
        aucs = [ranking.auc(threshold) for threshold in thresholds]
        _, kept = ranking.coverage()
        cells = [
            ranking.name,
            str(len(ranking.wer)),
            *("–" if auc is None else f"{auc:.3f}" for auc in aucs),
            f"{kept[-1]:.1f}",
            f"{kept[(len(kept) - 1) // 2]:.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def plot_auc(
    rankings: Sequence[Ranking],
    path: str | os.PathLike[str],
    thresholds: Sequence[float] = THRESHOLDS,
) -> None:
    """Draw a ROC panel per threshold, and the mean true WER against the share that is kept.

    Args:
        rankings: one line each.
        path: PNG file to write.
        thresholds: WER in percent below which a label is good.
    """
    figure, axes = grid(len(thresholds) + 1, width=4.4, height=4.0, columns=2)
    for axis, threshold in zip(axes, thresholds, strict=False):
        _draw_roc(axis, rankings, threshold)
    coverage = axes[len(thresholds)]
    for index, ranking in enumerate(rankings):
        share, mean = ranking.coverage()
        coverage.plot(100 * share, mean, label=ranking.name, **_style(index))
    coverage.set(
        title="what filtering gains", xlabel="labels kept (%), best first",
        ylabel="mean true WER of those kept (%)",
    )  # fmt: skip
    coverage.legend(frameon=False, fontsize=8)
    save(figure, path)


def _draw_roc(axis: Axes, rankings: Sequence[Ranking], threshold: float) -> None:
    axis.plot([0, 100], [0, 100], color="#BBBBBB", lw=1)
    for index, ranking in enumerate(rankings):
        auc = ranking.auc(threshold)
        if auc is None:
            continue
        false_positive, true_positive = ranking.curve(threshold)
        label = f"{ranking.name} {auc:.3f}"
        axis.plot(100 * false_positive, 100 * true_positive, label=label, **_style(index))
    axis.set(
        title=f"good: true WER below {threshold:g} %",
        xlabel="bad labels kept (%)",
        ylabel="good labels kept (%)",
    )
    if len(axis.get_lines()) > 1:
        axis.legend(title="AUC", frameon=False, fontsize=8, loc="lower right")
    else:
        text = "all labels are on one side"
        axis.text(50, 30, text, ha="center", color="#777777")


def _style(index: int) -> dict[str, Any]:
    return {
        "color": COLOURS[index % len(COLOURS)],
        "ls": STYLES[index % len(STYLES)],
        "lw": 1.6,
    }
