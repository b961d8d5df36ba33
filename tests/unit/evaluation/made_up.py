"""Made-up runs for the report tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.image import imread

from espnet_kd.evaluation.runs import Run, Score

CURVES = {
    "train/loss": [[10.0 * i, 3.0 / (i + 1)] for i in range(30)],
    "valid/loss": [[50.0 * i, 3.2 / (i + 1)] for i in range(6)],
}


def profile(size: float) -> dict[str, object]:
    """Profile of a model that costs ``size`` units."""
    return {
        "parameters": {"total": round(1e6 * size)},
        "macs": {"total": round(2e9 * size), "seconds": 16.0},
        "time": {"rtf_cpu": 0.01 * size},
        "memory": {"peak_mib": 300.0 + size},
    }


def run(name: str, role: str, wer: float, size: float = 1.0, seed: int = 0, **more: object) -> Run:
    """A run with a WER and an accuracy."""
    scores = (
        Score("ASR", "WER", wer, "lower", "%"),
        Score("SID", "accuracy", 100 - wer, "higher", "%"),
    )
    values: dict[str, Any] = {
        "seed": seed,
        "corpus": "digits",
        "command": f"./run.sh --seed {seed}",
        "profile": profile(size),
        "curves": CURVES,
    }
    return Run(name, role, scores, **{**values, **more})


def experiment() -> list[Run]:
    """Teacher, student with two seeds, one baseline without profile and curves."""
    return [
        run("big teacher", "teacher", 4.0, size=4.0),
        run("small student", "student", 6.0, seed=1),
        run("small student", "student", 8.0, seed=2),
        run("alone", "baseline", 20.0, profile={}, curves=""),
    ]


def save(runs: list[Run], folder: Path) -> list[Path]:
    """Write the runs and return their files."""
    paths = [folder / f"run{i}.json" for i in range(len(runs))]
    for path, one in zip(paths, runs, strict=True):
        one.save(path)
    return paths


def colours(path: Path) -> int:
    """How many colours a picture of some size has."""
    pixels = np.round(imread(path) * 255).astype(np.uint8)
    assert min(pixels.shape[:2]) > 200
    assert pixels.shape[2] == 4
    # Four bytes as one number: rows of numbers would take seconds to sort.
    return len(np.unique(pixels.view(np.uint32)))
