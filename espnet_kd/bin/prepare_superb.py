"""Make small corpora in the layouts of SUPERB's ten tasks, so that S3PRL runs on them.

``python -m espnet_kd.bin.prepare_superb --corpus synthetic --out data --size tiny``
``python -m espnet_kd.bin.prepare_superb --corpus digits:fsdd.tar.gz --out data --tasks "sd er"``

OUT is ``--data`` of ``python -m s3prl_upstreams.run_downstream``. What is there already is kept; an
interrupted run continues. Corpus, size and seed decide every sample.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_kd.data.superb import SIZES, prepare_superb
from espnet_kd.errors import KDError


def get_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(
        prog="espnet_kd.bin.prepare_superb",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--corpus", default="synthetic", help="synthetic, or digits:PATH (FSDD folder or tar.gz)"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for everything")
    parser.add_argument("--size", choices=SIZES, default="mini", help="tiny is for tests")
    parser.add_argument("--seed", type=int, default=0, help="decides everything that is random")
    parser.add_argument(
        "--tasks", nargs="+", default=[], metavar="TASK", help='such as "sd er" (default: all ten)'
    )
    parser.add_argument("--processes", type=int, default=2, help="layouts or speakers at a time")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Make the data and print one line for each task."""
    args = get_parser().parse_args(argv)
    try:
        made = prepare_superb(
            args.corpus,
            args.out,
            size=args.size,
            seed=args.seed,
            tasks=[name for words in args.tasks for name in words.replace(",", " ").split()],
            processes=args.processes,
        )
    except KDError as error:
        sys.exit(f"espnet_kd.bin.prepare_superb: {error}")
    for task, folder in made.items():
        print(f"{task}: {folder}")


if __name__ == "__main__":
    main()
