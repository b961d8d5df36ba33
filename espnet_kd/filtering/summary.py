"""What a filter did, in numbers that add up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from espnet_kd.data.pseudo_labels import PseudoLabel
from espnet_kd.filtering.decide import Cut, Decision
from espnet_kd.whisper.wer_filter import Score


def summarise(
    labels: Sequence[PseudoLabel],
    decisions: Sequence[Decision],
    cuts: Sequence[Cut],
    scores: Mapping[str, Mapping[str, Score]],
) -> dict[str, Any]:
    """Totals, hours, reasons, and how each limit and measure came out.

    ``total = kept + dropped``, ``dropped = by_check + by_limits``; a label that fails several
    limits counts for each of them in ``limits``, whose ``only`` counts those that it alone
    dropped.
    """
    kept = [decision.kept for decision in decisions]
    dropped = [decision for decision in decisions if not decision.kept]
    checked = [decision for decision in dropped if decision.failed == ("check",)]
    by_limits = [decision for decision in dropped if decision.failed != ("check",)]
    return {
        "total": len(decisions),
        "kept": sum(kept),
        "dropped": len(dropped),
        "by_check": len(checked),
        "by_limits": len(by_limits),
        "hours": _hours(labels, [True] * len(kept)),
        "kept_hours": _hours(labels, kept),
        "checks": dict(Counter(_kind(decision.reason) for decision in checked).most_common()),
        "limits": [_limit(cut, by_limits) for cut in cuts],
        "measures": {name: _measure(list(found.values())) for name, found in scores.items()},
    }


def summary_table(summary: Mapping[str, Any]) -> str:
    """The summary as text."""
    total = summary["total"]
    rows = [("labels", total, summary["hours"]), ("kept", summary["kept"], summary["kept_hours"])]
    lines = [f"{'':40}{'labels':>9}{'share':>8}{'hours':>9}"]
    lines += [f"{name:40}{n:>9}{n / total:>8.1%}{hours:>9.2f}" for name, n, hours in rows]
    lines.append(f"{'dropped':40}{summary['dropped']:>9}{summary['dropped'] / total:>8.1%}")
    lines += [f"  {name:38}{n:>9}{n / total:>8.1%}" for name, n in summary["checks"].items()]
    for limit in summary["limits"]:
        text = f"{limit['limit']} not met (alone: {limit['only']})"
        lines.append(f"  {text:38}{limit['failed']:>9}{limit['failed'] / total:>8.1%}")
    for name, found in summary["measures"].items():
        mean = "-" if found["mean"] is None else f"{found['mean']:.4g}"
        lines.append(f"{name}: mean {mean}, {found['missing']} without a score")
    return "\n".join(lines)


def _limit(cut: Cut, dropped: Sequence[Decision]) -> dict[str, Any]:
    sign = ">" if cut.higher_is_better else "<"
    failed = [decision for decision in dropped if cut.measure in decision.failed]
    return {
        "limit": f"{cut.measure} {sign}{'=' if cut.inclusive else ''} {cut.threshold:.6g}",
        "measure": cut.measure,
        "threshold": cut.threshold,
        "failed": len(failed),
        "only": sum(decision.failed == (cut.measure,) for decision in failed),
    }


def _measure(scores: Sequence[Score]) -> dict[str, Any]:
    values = [score.value for score in scores if score.value is not None]
    notes = Counter(score.note for score in scores if score.value is None)
    return {
        "mean": sum(values) / len(values) if values else None,
        "missing": len(scores) - len(values),
        "notes": dict(notes.most_common()),
    }


def _hours(labels: Sequence[PseudoLabel], kept: Sequence[bool]) -> float:
    seconds = (label.duration or 0.0 for label, keep in zip(labels, kept, strict=True) if keep)
    return sum(seconds) / 3600


def _kind(reason: str) -> str:
    """Reasons without their particulars ("loop: a phrase 9 times" -> "loop")."""
    return reason.partition(":")[0]
