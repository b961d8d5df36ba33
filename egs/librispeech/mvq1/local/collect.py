"""Stage 6: WERs of the test sets as a run JSON and tables, beside the published ones."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import yaml

from espnet_kd.errors import KDError
from espnet_kd.evaluation.runs import Run, Score
from espnet_kd.evaluation.wer import ErrorRates, markdown_table, read_text, word_error_rates
from espnet_kd.utils.files import write_text

PUBLISHED = Path(__file__).parents[1] / "published.yaml"


def beside(rates: dict[str, ErrorRates], system: str) -> str:
    """A table of ours and the published ones of the system at all numbers of epochs."""
    known: dict[str, dict[str, float]] = yaml.safe_load(PUBLISHED.read_text(encoding="utf-8"))
    lines = ["| WER % | " + " | ".join(rates) + " |", "|---|" + "---|" * len(rates)]
    rows = {"this run": {name: counts.error_rate for name, counts in rates.items()}}
    rows |= {f"published, {key}": row for key, row in known.items() if key.startswith(system)}
    for title, row in rows.items():
        cells = [f"{row[name]:.2f}" if name in row else "" for name in rates]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def collect(args: argparse.Namespace) -> str:
    """Write the run JSON; returns the tables."""
    rates = {
        name: word_error_rates(
            read_text(args.data / name / "text"), read_text(args.exp / "decode" / name / "text")
        )
        for name in args.sets
    }
    profile: dict[str, Any] = json.loads((args.exp / "model.json").read_text(encoding="utf-8"))
    run = Run(
        name=args.system,
        role="student" if args.system.startswith("mvq") else "baseline",
        scores=tuple(
            Score(f"ASR {name}", "WER", counts.error_rate, "lower", "%")
            for name, counts in rates.items()
        ),
        seed=args.seed,
        corpus="LibriSpeech",
        command=args.command,
        profile=profile,
        curves="../train/tensorboard" if (args.exp / "train" / "tensorboard").is_dir() else "",
    )
    run.save(args.exp / "results" / f"{args.system}.json")
    tables = beside(rates, args.system) + "\n" + markdown_table(rates)
    write_text(args.exp / "results" / "wer.md", tables)
    return tables


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--exp", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder of the test sets")
    parser.add_argument("--sets", nargs="+", required=True)
    parser.add_argument("--system", required=True, help="mvq_100h, baseline_960h ...")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--command", default="")
    try:
        print(collect(parser.parse_args()))
    except (KDError, OSError) as error:
        sys.exit(f"collect.py: {error}")


if __name__ == "__main__":
    main()
