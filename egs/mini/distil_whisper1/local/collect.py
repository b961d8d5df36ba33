"""Stage 7: write the run JSON of each system from what the evaluation and the filters left."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from egs.TEMPLATE.collect_runs import System, get_parser, read_json
from espnet_kd.data.pseudo_labels import LABELS
from espnet_kd.errors import KDError
from espnet_kd.evaluation.runs import Run, Score
from espnet_kd.evaluation.wer import word_error_rates
from espnet_kd.whisper.normalisers import make_normaliser

SYSTEMS = {
    "teacher": System("teacher", "4-4 layers, trained here on transcripts"),
    "distil": System("student", "4-2 layers, the teacher's encoder, frozen"),
    "udistil": System("student", "2-2 layers, no transcript used"),
    "distil_scratch": System("baseline", "distil's shape from random weights, as many updates"),
    "udistil_scratch": System("baseline", "udistil's shape from random weights, as many updates"),
}
FILTERED = {
    "distil": ("wer", "free_untranscribed"),
    "udistil": ("free_transcribed", "free_untranscribed"),
}
"""System to the filtered labels that it and its baseline learnt from; the first ones have
transcripts to compare with."""


def label_wer(folder: Path) -> float:
    """WER in percent of the labels of a folder, where the transcripts are known."""
    lines = (folder / LABELS).read_text(encoding="utf-8").splitlines()
    records = [record for record in map(json.loads, lines) if record["reference"] is not None]
    normalise = make_normaliser("basic", "en")
    references, labels = (
        {record["id"]: normalise(record[key]) for record in records}
        for key in ("reference", "text")
    )
    return word_error_rates(references, labels).error_rate


def labels_of(name: str, seed_dir: Path) -> dict[str, float]:
    """How good the labels are that a system learnt from, and what share of all was kept."""
    if name == "teacher":
        return {"wer": label_wer(seed_dir / "labels" / "transcribed")}
    folders = [seed_dir / "filtered" / part for part in FILTERED[name.removesuffix("_scratch")]]
    totals = [read_json(folder / "summary.json") for folder in folders]
    kept = sum(total["kept"] for total in totals) / sum(total["total"] for total in totals)
    return {"wer": label_wer(folders[0] / "kept"), "kept": kept}


def recognition(metrics: dict[str, Any]) -> list[Score]:
    """Of bin.whisper_evaluate."""
    return [
        Score("ASR", "WER", metrics["WER"], "lower", "%"),
        Score("ASR", "raw WER", metrics["wer_raw"], "lower", "%"),
        Score("decoding", "RTFx", metrics["rtfx"], "higher"),
    ]


def drafting(draft: dict[str, Any]) -> list[Score]:
    """Of the student as the teacher's draft."""
    same = 100 * draft["identical"] / draft["utterances"]
    return [
        Score("drafting", "identical texts", same, "higher", "%"),
        Score("drafting", "speed", draft["speed_ratio"], "higher", "x"),
    ]


def write_runs(args: argparse.Namespace) -> None:
    """Write ``SEED_DIR/results/NAME.json`` of every system."""
    drafted = read_json(args.seed_dir / "draft" / "teacher_mini_test_metrics.json")
    for name, system in SYSTEMS.items():
        file = f"{name}_mini_test_metrics.json"
        metrics = drafted if name == "teacher" else read_json(args.seed_dir / "scores" / file)
        scores = recognition(metrics)
        if name == drafted["draft"]["assistant"]:
            scores += drafting(drafted["draft"])
        run = Run(
            name=name,
            role=system.role,
            scores=tuple(scores),
            seed=args.seed,
            corpus=args.corpus,
            command=args.command,
            description=system.description,
            profile={
                "parameters": {"total": metrics["parameters"]},
                "labels": labels_of(name, args.seed_dir),
            },
            curves=f"../{name}/tensorboard",
        )
        run.save(args.seed_dir / "results" / f"{name}.json")


def main() -> None:
    args = get_parser(__doc__).parse_args()
    try:
        write_runs(args)
    except (KDError, OSError) as error:
        sys.exit(f"collect.py: {error}; run ./run.sh --stage 6")


if __name__ == "__main__":
    main()
