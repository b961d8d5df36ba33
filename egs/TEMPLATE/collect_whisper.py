r"""Stage 6: one run JSON per model from what bin.whisper_evaluate left, beside published figures.

``collect_whisper.py --folders short=exp/decode/short long=exp/decode/long --out exp/results \\
    --models teacher:teacher=whisper-large-v3 student:distil_hi=student --corpus cv_hi``

A model is ROLE:NAME=FOLDER, where FOLDER is the name of the folder that was evaluated. The scores
of ``short`` are called after their test sets, those of other folders have its name behind.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from espnet_kd.errors import KDError
from espnet_kd.evaluation.runs import Run, Score

RATES = ("WER", "CER")


@dataclass(frozen=True)
class Model:
    """One row of the table."""

    role: str
    """``teacher``, ``student`` or ``baseline``."""

    name: str
    """In the table, and in the file of published figures."""

    folder: str
    """Name of the folder that was evaluated."""

    @classmethod
    def parse(cls, text: str) -> Model:
        """Read ``ROLE:NAME=FOLDER``."""
        role, _, rest = text.partition(":")
        name, _, folder = rest.partition("=")
        if not folder:
            sys.exit(f"--models {text}: write ROLE:NAME=FOLDER")
        return cls(role, name, folder)


def read_metrics(folders: Mapping[str, Path]) -> list[tuple[str, dict[str, Any]]]:
    """Kind and content of all metrics files, in the order of the folders."""
    found = []
    for kind, folder in folders.items():
        files = sorted(folder.glob("*_metrics.json"))
        if not files:
            sys.exit(f"{folder}: no metrics there; run ./run.sh --stage 5")
        found += [(kind, json.loads(file.read_text(encoding="utf-8"))) for file in files]
    return found


def task(kind: str, metrics: Mapping[str, Any]) -> str:
    split = str(metrics["split"])
    return split if kind == "short" else f"{split} {kind}"


def scores_of(
    model: Model, found: Sequence[tuple[str, dict[str, Any]]], rates: Sequence[str]
) -> list[Score]:
    """Error rates and speed of a model, and how it drafts for others."""
    scores = []
    for kind, metrics in found:
        name = task(kind, metrics)
        if Path(metrics["model_id"]).name == model.folder and kind != "draft":
            scores += [Score(name, rate, metrics[rate], "lower", "%") for rate in rates
                       if rate in metrics]  # fmt: skip
            scores.append(Score(name, "RTFx", metrics["rtfx"], "higher"))
        draft = metrics.get("draft", {})
        if draft.get("assistant") == model.folder and draft["utterances"]:
            same = 100 * draft["identical"] / draft["utterances"]
            scores.append(Score("draft", "identical texts", same, "higher", "%"))
            scores.append(Score("draft", "speed", draft["speed_ratio"], "higher", "x"))
    return scores


def averages(scores: Sequence[Score], wanted: Mapping[str, Sequence[str]]) -> list[Score]:
    """Plain means over test sets, where all of them were scored."""
    found = {(score.task, score.metric): score.value for score in scores}
    return [
        Score(name, rate, sum(found[part, rate] for part in parts) / len(parts), "lower", "%")
        for name, parts in wanted.items()
        for rate in RATES
        if parts and all((part, rate) in found for part in parts)
    ]


def compare(name: str, scores: Sequence[Score], published: Mapping[str, float]) -> list[str]:
    """One line per score that is a rate, or that was published."""
    lines = []
    for score in scores:
        key = f"{score.task} {score.metric}"
        known = f" (published {published[key]:.1f})" if key in published else ""
        if known or score.metric in RATES or score.task == "draft":
            lines.append(f"{name} {key} {score.value:.2f} {score.unit}{known}")
    return lines


def pairs(words: Sequence[str]) -> dict[str, str]:
    return dict(word.partition("=")[::2] for word in words)


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--folders", nargs="+", required=True, metavar="KIND=DIR", help="results of stage 5")
    add("--models", nargs="+", required=True, metavar="ROLE:NAME=FOLDER")
    add("--out", type=Path, required=True, help="folder for NAME.json")
    add("--corpus", required=True, help="name of the test data")
    add("--rates", nargs="+", default=["WER"], choices=RATES)
    add("--average", nargs="*", default=[], metavar="NAME=SET,SET", help="means over test sets")
    add("--published", type=Path, help="YAML: model -> {'SET WER': figure}")
    add("--curves", nargs="*", default=[], metavar="NAME=DIR", help="TensorBoard folders")
    add("--description", nargs="*", default=[], metavar="NAME=TEXT")
    add("--seed", type=int, default=0)
    add("--command", default="", help="that repeats the run")
    return parser


def main() -> None:
    args = get_parser().parse_args()
    found = read_metrics({kind: Path(folder) for kind, folder in pairs(args.folders).items()})
    published = yaml.safe_load(args.published.read_text(encoding="utf-8")) if args.published else {}
    wanted = {name: sets.split(",") for name, sets in pairs(args.average).items()}
    for model in map(Model.parse, args.models):
        scores = scores_of(model, found, args.rates)
        if not scores:
            sys.exit(f"no score of {model.folder} in {', '.join(args.folders)}; run stage 5")
        scores += averages(scores, wanted)
        totals = [m["parameters"] for _, m in found if Path(m["model_id"]).name == model.folder]
        curves = pairs(args.curves).get(model.name, "")
        run = Run(
            name=model.name,
            role=model.role,
            scores=tuple(scores),
            seed=args.seed,
            corpus=args.corpus,
            command=args.command,
            description=pairs(args.description).get(model.name, ""),
            profile={"parameters": {"total": totals[0]}} if totals else {},
            curves=str(Path(curves).absolute()) if curves and Path(curves).is_dir() else "",
        )
        try:
            run.save(args.out / f"{model.name}.json")
        except KDError as error:
            sys.exit(f"collect_whisper.py: {error}")
        print("\n".join(compare(model.name, scores, published.get(model.name, {}))))


if __name__ == "__main__":
    main()
