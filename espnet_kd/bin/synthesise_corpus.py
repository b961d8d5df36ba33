"""Make a small spoken corpus from nothing: many synthetic voices, digits and commands.

``python -m espnet_kd.bin.synthesise_corpus --out DIR [--seed 0] [--unlabelled_speakers 40 ...]``

DIR receives LibriSpeech/ (ASR, distillation), VoxCeleb1/ (speakers), speech_commands/ (keywords)
and lexicon.txt. The same options give the same bytes; an interrupted run continues.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from espnet_kd.data.synthesis import SynthesisPlan, synthesise
from espnet_kd.errors import KDError


def get_parser() -> argparse.ArgumentParser:
    """Return the command line's parser; every field of the plan is an option."""
    parser = argparse.ArgumentParser(
        prog="espnet_kd.bin.synthesise_corpus",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the corpus")
    parser.add_argument("--processes", type=int, default=2, help="speakers at a time (2)")
    for field in fields(SynthesisPlan):
        help_text = f"default {field.default}"
        parser.add_argument(f"--{field.name}", type=int, default=field.default, help=help_text)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Synthesise and print where."""
    args = vars(get_parser().parse_args(argv))
    out, processes = args.pop("out"), args.pop("processes")
    try:
        synthesise(out, SynthesisPlan(**args), processes)
    except KDError as error:
        sys.exit(f"espnet_kd.bin.synthesise_corpus: {error}")
    print(out)


if __name__ == "__main__":
    main()
