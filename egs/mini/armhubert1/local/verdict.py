"""Stage 6: say whether the run shows what it is for: distillation beats its baselines."""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import mean

from espnet_kd.evaluation.runs import Run, load_runs


def mean_scores(runs: list[Run], name: str) -> dict[str, tuple[float, str]]:
    """Task and metric -> mean over the seeds and direction."""
    values: dict[str, list[float]] = {}
    directions = {}
    for run in runs:
        for score in run.scores if run.name == name else ():
            label = f"{score.task} {score.metric}"
            values.setdefault(label, []).append(score.value)
            directions[label] = score.direction
    return {label: (mean(numbers), directions[label]) for label, numbers in values.items()}


def lines(runs: list[Run]) -> list[str]:
    """One sentence per task and comparison."""
    student = mean_scores(runs, "student")
    said = []
    for other in ("untrained", "no_teacher", "teacher"):
        for label, (value, direction) in mean_scores(runs, other).items():
            gain = value - student[label][0] if direction == "lower" else student[label][0] - value
            word = "better" if gain > 0 else "worse"
            said.append(
                f"{label}: student {student[label][0]:.1f}, {other} {value:.1f}: "
                f"the student is {abs(gain):.1f} points {word}"
            )
    return said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--smoke", choices=("true", "false"), default="false")
    args = parser.parse_args()
    print("\n".join(lines(load_runs(args.runs))))
    if args.smoke == "true":
        print("(a smoke run: the numbers mean nothing)")


if __name__ == "__main__":
    main()
