r"""Bring speech from anywhere into a Kaldi folder of 16 kHz recordings, ready to label or score.

``python -m espnet_kd.bin.prepare_speech --source commonvoice:cv-corpus-16.1/hi@train --out DIR``
``python -m espnet_kd.bin.prepare_speech --source dataset:google/fleurs#ar_eg@test \\
    --columns text=transcription --out data/fleurs``
``python -m espnet_kd.bin.prepare_speech --source table:masc/clean_train.csv kaldi:data/mgb2 \\
    --max_utterances 100000 --out data/train_100K``

Sources: kaldi:DIR, table:FILE (.tsv or .csv beside its audio), commonvoice:DIR@SPLIT,
dataset:NAME#CONFIG@SPLIT. Recordings that are 16 kHz WAV or FLAC already stay where they lie, all
others are written as FLAC once. A folder made of the same is kept; a stopped run goes on.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from espnet_kd.bin.run import run_command
from espnet_kd.data.options import add_policy_options, policy_from
from espnet_kd.utils.options import too_small


def get_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(
        prog="python -m espnet_kd.bin.prepare_speech",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--source", nargs="+", required=True, metavar="KIND:PLACE", help="where speech is from")
    add("--out", type=Path, required=True, help="Kaldi folder to write")
    add("--language", default="", help="code; which folder of a Common Voice release")
    add("--columns", nargs="+", default=[], metavar="ROLE=NAME",
        help="columns with other names than usual: audio, text, speaker, start, end, id",
        )  # fmt: skip
    add("--max_utterances", type=int, default=0, help="draw so many; 0 = all")
    add("--seed", type=int, default=0, help="of that draw")
    add("--longest", type=float, default=0.0, help="leave longer utterances out (s); 0 = none")
    add("--max_bad_share", type=float, default=0.01,
        help="so many unusable recordings are left out and listed")  # fmt: skip
    add("--threads", type=int, default=4, help="recordings at a time")
    add_policy_options(parser)
    parser.set_defaults(rate_policy="resample")
    return parser


def main(cmd: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    args = get_parser().parse_args(cmd)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    return run_command(lambda: prepare(args), resumable=True, saved="All written recordings")


def prepare(args: argparse.Namespace) -> None:
    """Write the folder unless it is there, and print what it holds.

    Raises:
        KDError: wrong options, speech that is not there or unusable, a full disk.
    """
    from espnet_kd.data.copy_speech import CopyPlan, copy_speech, is_prepared
    from espnet_kd.data.kaldi_dir import load_tables
    from espnet_kd.data.sources import open_source

    _check_numbers(args)
    _refuse_source_as_target(args)
    columns, made_of = _columns(args.columns), _made_of(args)
    if is_prepared(args.out, made_of):
        data, state = load_tables(args.out), "kept"
    else:
        policy = policy_from(args)
        sources = [
            open_source(text, policy, language=args.language, columns=columns)
            for text in args.source
        ]
        plan = CopyPlan(
            most=args.max_utterances or None,
            seed=args.seed,
            max_seconds=args.longest,
            max_bad_share=args.max_bad_share,
            threads=args.threads,
        )
        data, state = copy_speech(sources, args.out, plan, made_of), "prepared"
    text = "with transcripts" if data.text else "without transcripts"
    print(f"{args.out}: {len(data)} utterances, {data.hours:.2f} h, {text}, {state}")


def _check_numbers(args: argparse.Namespace) -> None:
    from espnet_kd.errors import ConfigError

    least = {"max_utterances": 0, "longest": 0, "max_seconds": 0, "threads": 1, "sample_rate": 1}
    problems = too_small(args, least, "--")
    if not 0 <= args.max_bad_share <= 1:
        problems.append(f"--max_bad_share is {args.max_bad_share}; it must lie between 0 and 1")
    if problems:
        raise ConfigError("prepare_speech", problems)


def _refuse_source_as_target(args: argparse.Namespace) -> None:
    """The tables of an earlier folder disappear first, and with other options its recordings."""
    from espnet_kd.data.sources import parse_place
    from espnet_kd.errors import ConfigError

    for text in args.source:
        place = parse_place(text)
        folder = Path(place.name) / place.split
        if place.kind == "kaldi" and folder.resolve() == args.out.resolve():
            raise ConfigError("--out", [f"{args.out} is the source {text}; choose another folder"])


def _columns(words: Sequence[str]) -> dict[str, str]:
    from espnet_kd.errors import ConfigError

    wrong = [f"{word!r} is not ROLE=NAME" for word in words if not all(word.partition("="))]
    if wrong:
        raise ConfigError("--columns", wrong)
    return dict(word.split("=", 1) for word in words)


def _made_of(args: argparse.Namespace) -> dict[str, Any]:
    names = ("source", "language", "columns", "max_utterances", "seed", "longest", "max_bad_share",
             "sample_rate", "rate_policy", "channels", "min_samples", "max_seconds")  # fmt: skip
    return {name: getattr(args, name) for name in names}


if __name__ == "__main__":
    sys.exit(main())
