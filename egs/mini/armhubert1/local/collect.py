"""Stage 6: write the run JSON of each system from its scores, profile and training curves."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from espnet_kd.evaluation.runs import Run, Score

SYSTEMS = {
    "teacher": ("teacher", "trained here on cluster targets"),
    "student": ("student", "attention-reusing, distilled from the teacher"),
    "no_teacher": ("baseline", "the student's architecture, as many updates, cluster targets"),
    "untrained": ("baseline", "the student's architecture, random weights"),
}


def scores_of(folder: Path) -> tuple[Score, ...]:
    """Read every task's score.json."""
    found = []
    for path in sorted(folder.glob("*/score.json")):
        values = json.loads(path.read_text(encoding="utf-8"))
        keys = ("task", "metric", "value", "direction", "unit")
        found.append(Score(**{key: values[key] for key in keys}))
    return tuple(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed_dir", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--command", default="")
    args = parser.parse_args()
    for name, (role, description) in SYSTEMS.items():
        scores = scores_of(args.seed_dir / "downstream" / name)
        if not scores:
            sys.exit(f"no score of {name} in {args.seed_dir}; run ./run.sh --stage 5")
        profile = args.seed_dir / "models" / f"{name}.profile.json"
        log = args.seed_dir / name / "tensorboard"
        run = Run(
            name=name,
            role=role,
            scores=scores,
            seed=args.seed,
            corpus=args.corpus,
            command=args.command,
            description=description,
            profile=json.loads(profile.read_text(encoding="utf-8")),
            curves=f"../{name}/tensorboard" if log.is_dir() else "",
        )
        run.save(args.seed_dir / "results" / f"{name}.json")


if __name__ == "__main__":
    main()
