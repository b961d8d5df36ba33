r"""SUPERB's overall scores of your models, among the published ones.

``python -m espnet_kd.bin.superb_score RESULTS.json`` or, from the folders of S3PRL's runs,
``python -m espnet_kd.bin.superb_score --exp student=exp/superb/student \
--model student=exp/student/model --out DIR``

RESULTS.json is described in ``espnet_kd/evaluation/superb/models.py``, the files below an ``--exp``
folder in ``espnet_kd/evaluation/superb/experiments.py``. The table goes to the terminal; superb.md,
superb.json (which can be read again), superb.html and the trade-off plots go into DIR.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_kd.bin.run import run_command

if TYPE_CHECKING:
    from espnet_kd.evaluation.superb.experiments import Experiment
    from espnet_kd.evaluation.superb.models import Model


def get_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(
        prog="espnet_kd.bin.superb_score",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("results", nargs="*", metavar="RESULTS.json", help="models with scores")
    _add_pairs(parser, "--exp", "NAME=DIR", "folder of one model's runs (score.json)")
    _add_pairs(
        parser,
        "--model",
        "NAME=DIR",
        "count the parameters and MACs of a row: checkpoint, architecture, or the JSON that "
        "espnet_kd.bin.profile --superb wrote (brings the RTF too)",
    )
    _add_pairs(parser, "--role", "NAME=ROLE", "teacher, student (by default) or baseline")
    parser.add_argument(
        "--published",
        default="yes",
        metavar="ROWS",
        help="yes (all rows of papers and leaderboard), no, or names of rows with commas between",
    )
    parser.add_argument(
        "--allow_missing",
        nargs="?",
        const="true",
        default="false",
        metavar="true|false",
        help="show models that lack tasks, without overall scores",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for table, page and plots")
    parser.add_argument("--title", default="SUPERB", help="heading of the report")
    return parser


def _add_pairs(parser: argparse.ArgumentParser, option: str, metavar: str, text: str) -> None:
    parser.add_argument(option, nargs="+", action="extend", default=[], metavar=metavar, help=text)


def main(argv: Sequence[str] | None = None) -> int:
    """Score, print the table, write the report; returns the exit code."""
    args = get_parser().parse_args(argv)
    if args.allow_missing not in ("true", "false"):  # a flag before RESULTS.json
        args.results.append(args.allow_missing)
        args.allow_missing = "true"
    return run_command(lambda: _run(args))


def _run(args: argparse.Namespace) -> None:
    # Here, so that --help needs neither YAML nor matplotlib.
    from espnet_kd.evaluation.superb.models import refuse_namesakes
    from espnet_kd.evaluation.superb.published import choose_published
    from espnet_kd.evaluation.superb.table import by_score, score_table

    models, experiments = _own_models(args)
    _announce(models, experiments)
    if args.allow_missing == "false":
        _refuse_missing(models)
    # Our own superb.json has the published rows already.
    brought = {model.name for model in models if model.role == "published"}
    wanted = [word.strip() for word in args.published.split(",")]
    published = [row for row in choose_published(wanted) if row.name not in brought]
    models = by_score([*models, *published])
    refuse_namesakes(models, "your models and the published ones")
    print(score_table(models, args.title).markdown())
    if args.out is not None:
        from espnet_kd.evaluation.superb.report import write_superb_report

        for path in write_superb_report(models, args.out, args.title, experiments):
            print(path)


def _own_models(args: argparse.Namespace) -> tuple[list[Model], list[Experiment]]:
    """Rows of RESULTS.json files and of experiment folders, with roles and costs."""
    from espnet_kd.evaluation.superb.costs import with_costs
    from espnet_kd.evaluation.superb.experiments import read_experiment
    from espnet_kd.evaluation.superb.models import load_models, refuse_namesakes

    folders, places, roles = (_pairs(args, key) for key in ("exp", "model", "role"))
    experiments = [read_experiment(name, folder) for name, folder in folders.items()]
    models = [model for path in args.results for model in load_models(path)]
    models += [experiment.model for experiment in experiments]
    refuse_namesakes(models, "RESULTS.json and --exp")
    _refuse_unknown(models, {"--model": places, "--role": roles})
    models = [replace(m, role=roles.get(m.name, m.role)) for m in models]
    return [with_costs(m, places[m.name]) if m.name in places else m for m in models], experiments


def _announce(models: Sequence[Model], experiments: Sequence[Experiment]) -> None:
    """Say what a reader of the scores has to know."""
    for experiment in experiments:
        for text in experiment.passed_over:
            print(f"{experiment.model.name}: passed over {text}", file=sys.stderr)
        for text in experiment.model.source.split("; ")[1:]:
            print(f"{experiment.model.name}: {text}", file=sys.stderr)
    for model in models:
        for task, why in model.partial.items():
            print(f"{model.name}: {task} is the mean of {why}", file=sys.stderr)


def _refuse_missing(models: Sequence[Model]) -> None:
    from espnet_kd.errors import ScoreError

    own = [model for model in models if model.role != "published"]
    problems = [f"{m.name} lacks {', '.join(m.missing())}" for m in own if m.missing()]
    if problems:
        advice = "run these tasks, or show the models without overall scores: --allow_missing"
        raise ScoreError("overall scores need all ten tasks", [*problems, advice])


def _pairs(args: argparse.Namespace, key: str) -> dict[str, str]:
    from espnet_kd.errors import ScoreError

    found: dict[str, str] = {}
    problems = []
    for word in getattr(args, key):
        name, equals, value = word.partition("=")
        if not (name and equals and value):
            problems.append(f"{word!r} is not of the form NAME=VALUE; RESULTS.json goes first")
        elif name in found:
            problems.append(f"{name} is given twice")
        found[name] = value
    if problems:
        raise ScoreError(f"--{key}", problems)
    return found


def _refuse_unknown(models: Sequence[Model], options: dict[str, dict[str, str]]) -> None:
    from espnet_kd.errors import ScoreError
    from espnet_kd.evaluation.superb.metrics import closest

    names = tuple(model.name for model in models)
    problems = [
        f"{option} {name}: no such model in RESULTS.json or --exp{closest(name, names)}"
        for option, pairs in options.items()
        for name in pairs
        if name not in names
    ]
    if problems:
        raise ScoreError("options", problems)


if __name__ == "__main__":
    sys.exit(main())
