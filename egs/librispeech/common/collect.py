"""Stage 6: one run JSON per model from scores, profile and curves, beside the published scores."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import yaml

from espnet_kd.errors import KDError
from espnet_kd.evaluation.runs import Run, Score, load_scores

ROLES = {"teacher": "teacher", "student": "student"}


def compare(name: str, scores: tuple[Score, ...], published: dict[str, float]) -> list[str]:
    """One line per task."""
    lines = []
    for score in scores:
        text = f"{name} {score.task} {score.metric} {score.value:.2f} {score.unit}"
        known = published.get(score.task)
        lines.append(text + (f" (published {known:.2f})" if known is not None else ""))
    return lines


def read_json(path: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return values


def removed(exp: Path) -> dict[str, Any]:
    """What pruning removed, with its picture as seen from ``results``; empty without pruning."""
    values = read_json(exp / "pruned" / "pruning.json")
    return {**values, "picture": "../pruned/pruning.png"} if values else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--exp", type=Path, required=True)
    parser.add_argument("--system", required=True, help="such as armhubert_960h")
    parser.add_argument("--teacher", required=True, help="such as hubert_base")
    parser.add_argument("--models", nargs="+", required=True)
    parser.add_argument("--curves", default="train", help="folder of EXP whose curves are shown")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--command", default="")
    args = parser.parse_args()
    table = yaml.safe_load((Path(__file__).parent / "published.yaml").read_text(encoding="utf-8"))
    for name in args.models:
        try:
            scores = load_scores(args.exp / "downstream" / name)
        except KDError as error:
            sys.exit(f"collect.py: {error}")
        if not scores:
            sys.exit(f"no score of {name} in {args.exp}/downstream; run ./run.sh --stage 5")
        curves = Path(args.curves, "tensorboard")
        run = Run(
            name=args.teacher if name == "teacher" else args.system,
            role=ROLES[name],
            scores=scores,
            seed=args.seed,
            corpus="LibriSpeech",
            command=args.command,
            profile=read_json(args.exp / f"{name}.profile.json"),
            pruning=removed(args.exp) if name == "student" else {},
            curves=f"../{curves}" if name == "student" and (args.exp / curves).is_dir() else "",
        )
        run.save(args.exp / "results" / f"{name}.json")
        print("\n".join(compare(run.name, scores, table.get(run.name, {}))))


if __name__ == "__main__":
    main()
