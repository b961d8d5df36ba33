"""Stage 6: say in sentences what the runs show: who beats whom, and whether targets are reached.

``verdict.py results/*.json --pairs student:untrained student:teacher``
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from espnet_kd.evaluation.runs import Run, load_runs
from espnet_kd.evaluation.summary import System, group

NEAR = 0.01
"""How far the removed share may be from its target."""


def comparisons(systems: dict[str, System], pairs: Sequence[str]) -> list[str]:
    """One sentence per pair and score; pairs are ``NAME:OTHER``."""
    said = []
    for pair in pairs:
        name, _, other = pair.partition(":")
        ours = systems[name].scores()
        for label, (score, theirs) in systems[other].scores().items():
            own, value = ours[label][1].mean, theirs.mean
            gain = value - own if score.direction == "lower" else own - value
            found = f"{abs(gain):.1f} points {'better' if gain > 0 else 'worse'}"
            said.append(
                f"{score.task} {score.metric}: {name} {own:.1f}, {other} {value:.1f}: "
                f"the {name} is {found if gain else 'as good'}"
            )
    return said


def sparsities(runs: Sequence[Run]) -> list[str]:
    """One sentence per run that pruned."""
    return [_sparsity(run) for run in runs if run.pruning]


def _sparsity(run: Run) -> str:
    found = run.pruning
    what = "parameters" if found["measure"] == "params" else "MACs"
    word = "within" if found["off_target"] <= NEAR else "NOT within"
    return (
        f"{run.name}, seed {run.seed}: {found['reached']:.2%} of the {what} removed, target "
        f"{found['target']:.0%}: {100 * found['off_target']:.2f} points off, {word} {NEAR:.0%}"
    )


def lines(runs: Sequence[Run], pairs: Sequence[str]) -> list[str]:
    """All sentences."""
    systems = {system.name: system for system in group(runs)}
    return [*sparsities(runs), *comparisons(systems, pairs)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--pairs", nargs="+", default=[], metavar="NAME:OTHER")
    parser.add_argument("--smoke", choices=("true", "false"), default="false")
    args = parser.parse_args()
    print("\n".join(lines(load_runs(args.runs), args.pairs)))
    if args.smoke == "true":
        print("(a smoke run: the numbers mean nothing)")


if __name__ == "__main__":
    main()
