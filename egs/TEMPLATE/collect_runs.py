"""Stage 6: write the run JSON of each system of a recipe from scores, profile, curves and pruning.

A recipe's ``local/collect.py`` says which systems it has; everything else is here.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from espnet_kd.errors import KDError
from espnet_kd.evaluation.runs import Run, load_scores


@dataclass(frozen=True)
class System:
    """What a row of the table says of a system besides its numbers."""

    role: str
    """``teacher``, ``student`` or ``baseline``."""

    description: str
    """In a few words."""

    pruned: str = ""
    """Folder that bin.prune wrote, below the seed's folder."""


def get_parser(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--seed_dir", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--command", default="")
    return parser


def write_runs(systems: Mapping[str, System], args: argparse.Namespace) -> None:
    """Write ``SEED_DIR/results/NAME.json`` of every system."""
    for name, system in systems.items():
        try:
            scores = load_scores(args.seed_dir / "downstream" / name)
        except KDError as error:
            sys.exit(f"collect.py: {error}")
        if not scores:
            sys.exit(f"no score of {name} in {args.seed_dir}; run ./run.sh --stage 5")
        log = args.seed_dir / name / "tensorboard"
        run = Run(
            name=name,
            role=system.role,
            scores=scores,
            seed=args.seed,
            corpus=args.corpus,
            command=args.command,
            description=system.description,
            profile=read_json(args.seed_dir / "models" / f"{name}.profile.json"),
            pruning=removed(args.seed_dir, system.pruned) if system.pruned else {},
            curves=f"../{name}/tensorboard" if log.is_dir() else "",
        )
        run.save(args.seed_dir / "results" / f"{name}.json")


def removed(seed_dir: Path, folder: str) -> dict[str, Any]:
    """What bin.prune wrote, with its picture as seen from ``results``."""
    return {
        **read_json(seed_dir / folder / "pruning.json"),
        "picture": f"../{folder}/pruning.png",
    }


def read_json(path: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return values
