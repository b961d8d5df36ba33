r"""Prepare a corpus: make or find it, check every recording, write Kaldi data folders.

``python -m espnet_kd.bin.prepare_data --corpus synthetic --out data``
``python -m espnet_kd.bin.prepare_data --corpus librispeech:/path/to/LibriSpeech --out data \\
    --splits train-clean-100 dev-clean``

OUT receives one Kaldi folder per split, ``corpus.json`` (where the layouts for S3PRL are) and,
for corpora that are made, ``corpus/``. What is there, good and of the same corpus and options is
kept.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_kd.data.corpora import SIZES, Corpus, add_speaker_id, make_corpus
from espnet_kd.data.options import add_policy_options, boolean, policy_from
from espnet_kd.data.prepare import prepare_split
from espnet_kd.errors import KDError

SPLITS = ("train-clean-360", "train-clean-100", "dev-clean", "test-clean")


def get_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(
        prog="espnet_kd.bin.prepare_data",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--corpus",
        default="synthetic",
        help="synthetic, digits:PATH (FSDD folder or tar.gz), an4:PATH or librispeech:PATH",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for everything")
    parser.add_argument("--splits", nargs="+", default=list(SPLITS), help="splits to prepare")
    parser.add_argument("--seed", type=int, default=0, help="of synthetic and digits")
    parser.add_argument("--size", choices=SIZES, default="mini", help="of synthetic and digits")
    parser.add_argument("--processes", type=int, default=2, help="for synthesis")
    parser.add_argument(
        "--speaker_id",
        type=boolean,
        default=False,
        help="also make speaker identification data of train-clean-100 where the corpus has none",
    )
    parser.add_argument(
        "--skip_bad",
        type=boolean,
        default=False,
        help="leave unusable recordings out (up to 1 %%) and list them in skipped.txt",
    )
    add_policy_options(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Prepare all splits and print one line for each."""
    args = get_parser().parse_args(argv)
    try:
        corpus = make_corpus(
            args.corpus,
            args.out / "corpus",
            seed=args.seed,
            size=args.size,
            processes=args.processes,
        )
        prepare_all(corpus, args)
    except KDError as error:
        sys.exit(f"espnet_kd.bin.prepare_data: {error}")


def prepare_all(corpus: Corpus, args: argparse.Namespace) -> None:
    """Write the Kaldi folder of each split, and speaker identification data on request."""
    for split in args.splits:
        data, is_new = prepare_split(
            corpus.librispeech,
            split,
            args.out / split,
            policy=policy_from(args),
            skip_bad=args.skip_bad,
        )
        state = "prepared" if is_new else "kept"
        print(f"{args.out / split}: {len(data)} utterances, {data.hours * 60:.1f} min, {state}")
        if split == "train-clean-100" and args.speaker_id and not corpus.voxceleb:
            corpus = add_speaker_id(corpus, data, args.out / "corpus", policy_from(args))


if __name__ == "__main__":
    main()
