r"""Filter pseudo-labels: score them, keep the good ones, say of each why.

``python -m espnet_kd.bin.whisper_filter --labels LABELS --out OUT --threshold wer=80``
``python -m espnet_kd.bin.whisper_filter --labels LABELS --out OUT --quantile proxy=0.8 \\
    --threshold conf=0.5 --proxy_text TEXT``
``python -m espnet_kd.bin.whisper_filter --labels LABELS --out OUT --evaluate \\
    --measures conf entropy compression``

LABELS is a folder with labels.jsonl (see espnet_kd.bin.whisper_pseudo_label). OUT receives kept/
and dropped/ (folders of the same form), decisions.jsonl (every utterance: scores, kept or not, and
the reason), summary.json, and scores/, from which a stopped run goes on. With --evaluate also
auc.md, auc.json and auc.png: how well each measure finds labels of a high true WER.

A threshold keeps what is strictly better: below it, or above it where higher is better. A quantile
keeps that share of the labels, the best first.
"""

from __future__ import annotations

import argparse
import logging
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_kd.bin.run import run_command
from espnet_kd.data.options import add_policy_options, policy_from

if TYPE_CHECKING:
    from espnet_kd.filtering.decide import Limit
    from espnet_kd.filtering.run import FilterPlan, Scored


def get_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(
        prog="espnet_kd.bin.whisper_filter",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--labels", nargs="+", type=Path, metavar="DIR", help="folders of labels")
    parser.add_argument("--out", type=Path, help="folder for everything")
    parser.add_argument(
        "--threshold", nargs="+", default=[], metavar="MEASURE=VALUE", help="keep what is better"
    )
    parser.add_argument(
        "--quantile", nargs="+", default=[], metavar="MEASURE=SHARE", help="keep the best share"
    )
    parser.add_argument(
        "--measures", nargs="+", default=[], metavar="MEASURE", help="score these too"
    )
    parser.add_argument(
        "--combine", choices=("all", "any"), default="all", help="limits that must be met"
    )
    parser.add_argument(
        "--evaluate", action="store_true", help="ROC-AUC of every measure; filters nothing"
    )
    parser.add_argument("--list", action="store_true", help="list the measures and end")
    _add_measure_options(parser)
    _add_check_options(parser)
    add_policy_options(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Filter or evaluate; returns the exit code."""
    parser = get_parser()
    args = parser.parse_args(argv)
    if args.list:
        return run_command(list_measures)
    if not args.labels or not args.out:
        parser.error("--labels and --out are needed")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    return run_command(lambda: _run(args), resumable=True, saved="All computed scores")


def list_measures() -> None:
    """Print name, direction and needs of every measure."""
    from espnet_kd.filtering import MEASURES

    for name, cls in MEASURES.items():
        print(f"{name:12} {'higher' if cls.higher_is_better else 'lower':6} is better: {cls.about}")


def _run(args: argparse.Namespace) -> None:
    # Here, so that --help does not wait for torch.
    from transformers.utils import logging as transformers_logging

    from espnet_kd.errors import ConfigError
    from espnet_kd.filtering.run import (
        apply_limits,
        score_folders,
        true_wer,
        write_decisions,
    )
    from espnet_kd.filtering.summary import summary_table
    from espnet_kd.utils.devices import check_device

    transformers_logging.set_verbosity_error()  # it warns of its own processors
    check_device(args.device)
    _refuse_labels_as_target(args)
    plan = _plan(args)
    if args.evaluate and not (plan.measures or plan.limits):
        raise ConfigError("filter", ["--evaluate needs --measures (see --list)"])
    scored = score_folders(args.labels, args.out, plan)
    if args.evaluate:
        truth = true_wer(scored, args.out, plan)
        _evaluate(scored, {key: score.value for key, score in truth.items()}, args.out)
        return
    decisions, summary = apply_limits(scored, plan)
    print(summary_table(summary))
    write_decisions(args.out, scored, decisions, summary)
    print(f"wrote {args.out}/kept, {args.out}/dropped and {args.out}/decisions.jsonl")


def _refuse_labels_as_target(args: argparse.Namespace) -> None:
    """What is read must not be replaced: files of both have the same names."""
    from espnet_kd.errors import ConfigError
    from espnet_kd.filtering.run import DROPPED, KEPT

    written = {place.resolve() for place in (args.out, args.out / KEPT, args.out / DROPPED)}
    problems = [
        f"--out {args.out} would overwrite the labels in {folder}; choose another folder"
        for folder in args.labels
        if folder.resolve() in written
    ]
    if problems:
        raise ConfigError("filter", problems)


def _evaluate(scored: Scored, truth: dict[str, float | None], out: Path) -> None:
    from espnet_kd.evaluation.auc import auc_records, auc_table, make_ranking, plot_auc
    from espnet_kd.utils.files import write_json, write_text

    rankings = [
        make_ranking(
            name,
            truth,
            {key: score.value for key, score in scored.scores[name].items()},
            higher_is_better=measure.higher_is_better,
        )
        for name, measure in scored.measures.items()
        if name != "wer"
    ]
    table = auc_table(rankings)
    write_json(out / "auc.json", auc_records(rankings))
    write_text(out / "auc.md", table)
    plot_auc(rankings, out / "auc.png")
    missing = sum(value is None for value in truth.values())
    print(table)
    print(f"{missing} of {len(truth)} labels have no true WER; wrote {out}/auc.md, .json and .png")


def _plan(args: argparse.Namespace) -> FilterPlan:
    from espnet_kd.filtering.checks import Checks
    from espnet_kd.filtering.measure import MeasureOptions
    from espnet_kd.filtering.run import FilterPlan
    from espnet_kd.whisper.normalisers import language_code

    args.language = language_code(args.language)
    names = MeasureOptions.__dataclass_fields__.keys() & vars(args).keys()
    return FilterPlan(
        limits=tuple(_limits(args)),
        measures=tuple(args.measures),
        combine=args.combine,
        checks=Checks(
            language=args.language,
            max_repeats=args.max_repeats,
            max_compression=args.max_compression,
            truncated=not args.keep_truncated,
            timestamps=not args.keep_bad_timestamps,
        ),
        options=MeasureOptions(**{name: getattr(args, name) for name in names}),
        policy=policy_from(args),
    )


def _limits(args: argparse.Namespace) -> list[Limit]:
    from espnet_kd.errors import ConfigError
    from espnet_kd.filtering.decide import Limit

    limits, problems = [], []
    for option in ("threshold", "quantile"):
        for text in getattr(args, option):
            name, _, number = text.partition("=")
            try:
                value = float(number)
            except ValueError:
                value = math.nan
            if math.isnan(value):  # no score is better or worse than that
                problems.append(f"--{option} {text!r} is not MEASURE=NUMBER")
            limits.append(Limit(name, value, option == "quantile"))
    if args.batch_size < 1:
        problems.append(f"--batch_size is {args.batch_size}; it must be at least 1")
    if problems:
        raise ConfigError("filter", problems)
    return limits


def _add_measure_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what measures need (see --list)")
    group.add_argument("--language", help="of the labels, code or name; others are dropped")
    group.add_argument(
        "--normaliser",
        default="auto",
        help="auto (by language), english, basic, arabic, none, or published",
    )
    group.add_argument(
        "--wer_rule",
        choices=("fixed", "upstream", "fork"),
        default="fixed",
        help="upstream and fork reproduce published decisions, faults included",
    )
    group.add_argument(
        "--tokenizer", metavar="DIR", help="Whisper folder of the labels' tokenizer and spellings"
    )
    group.add_argument("--proxy_text", type=Path, help="text file of a second ASR system")
    group.add_argument("--proxy_model", metavar="DIR", help="folder of a second ASR model")
    group.add_argument("--student", metavar="DIR", help="Whisper folder, for agreement")
    group.add_argument("--lm", metavar="DIR", help="folder of a causal language model, for nnll")
    group.add_argument(
        "--embedder", default="sonar", help="sonar, or a CLAP or text encoder folder"
    )
    group.add_argument("--sonar_speech_encoder", help="by default that of the language")
    group.add_argument("--sonar_text_language", help="such as arb_Arab")
    group.add_argument("--tts_voice", help="voice of espeak-ng, for pesq and mcd")
    group.add_argument("--tts_wav_scp", type=Path, help="the labels spoken by another synthesiser")
    group.add_argument("--device", default="cpu", help="cpu or cuda")
    group.add_argument("--batch_size", type=int, default=8, help="utterances per batch")


def _add_check_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("labels that are dropped whatever their scores are")
    group.add_argument(
        "--max_repeats", type=int, default=8, help="a phrase more often in a row; 0 = no limit"
    )
    group.add_argument(
        "--max_compression", type=float, default=2.4, help="zlib's ratio of a loop; 0 = no limit"
    )
    group.add_argument("--keep_truncated", action="store_true", help="keep labels cut off")
    group.add_argument("--keep_bad_timestamps", action="store_true", help="keep them too")


if __name__ == "__main__":
    sys.exit(main())
