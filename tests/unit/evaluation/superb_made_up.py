"""Made-up SUPERB runs: a RESULTS.json entry and folders as run_downstream leaves them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from espnet_kd.evaluation.superb.metrics import METRICS
from espnet_kd.evaluation.superb.scores import Scores

# ARMHuBERT's published row.
SCORES = Scores(
    pr=7.72, asr=9.96, ks=96.88, qbe=0.0635, sid=65.03, asv=5.68, sd=7.10, ic=97.07,
    sf_f1=87.59, sf_cer=26.06, er=62.86,
)  # fmt: skip


def score(task: str, metric: str, value: float, **more: Any) -> dict[str, Any]:
    """The content of a score.json."""
    lower = metric in ("PER", "WER", "EER", "DER", "slot_value_cer")
    return {
        "task": task,
        "metric": metric,
        "value": value,
        "unit": "" if task == "QbE" else "%",
        "direction": "lower" if lower else "higher",
        "split": "test-clean" if task == "ASR" else "test",
        "checkpoint": f"exp/{task}/dev-best.ckpt",
        "upstream": "armhubert",
        "upstream_ckpt": "exp/student",
        **more,
    }


def write_score(folder: Path, values: dict[str, Any]) -> Path:
    """Write a score.json into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "score.json").write_text(json.dumps(values))
    return folder / "score.json"


def write_runs(root: Path, folds: int = 5, **more: Any) -> Path:
    """Runs of all ten tasks with ARMHuBERT's scores; ER's folds lie 1 point apart around it."""
    for metric in METRICS:
        value = SCORES.value(metric)
        assert value is not None
        if metric.task in ("SF", "ER"):
            continue
        values = score(metric.task, metric.name, value, **more)
        write_score(root / metric.task.lower(), values)
    slots = score("SF", "slot_type_f1", 87.59, **more)
    slots["more"] = [
        score("SF", "slot_value_cer", 26.06, **more), score("SF", "slot_value_wer", 30.0, **more),
    ]  # fmt: skip
    write_score(root / "sf", slots)
    for fold in range(1, folds + 1):
        accuracy = score("ER", "accuracy", 62.86 + fold - 3, **more)
        write_score(root / "er" / f"fold{fold}", accuracy)
    return root
