"""Check codes: every utterance has some, of its length, of the right number and range.

``python -m espnet_kd.bin.check_codes codes/train --data data/train``

All codes are read. ``--rewrite_scp true`` first writes the table of a folder that was moved anew.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_kd.bin.run import run_command
from espnet_kd.data.ark_tables import rewrite_scp
from espnet_kd.data.codes import check_codes
from espnet_kd.data.codes_info import CODES
from espnet_kd.data.options import add_policy_options, boolean, policy_from


def get_parser() -> argparse.ArgumentParser:
    """Options of this command."""
    parser = argparse.ArgumentParser(
        prog="python -m espnet_kd.bin.check_codes",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("codes", type=Path, help="folder of codes, or a table (.scp)")
    add("--data", help="Kaldi folder of the speech; without it lengths are not checked")
    add("--num_codebooks", type=int, help="expected (default: what codes.json says)")
    add("--codebook_size", type=int, help="expected (default: what codes.json says)")
    add("--tolerance", type=int, help="frames by which codes and speech may differ")
    add("--rewrite_scp", type=boolean, default=False, help="the folder was moved: correct its scp")
    add_policy_options(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Check; returns the exit code."""
    args = get_parser().parse_args(argv)
    return run_command(lambda: check(args))


def check(args: argparse.Namespace) -> None:
    """Check as the options say, and print what there is.

    Raises:
        DataDirError: lists the problems.
    """
    scp = args.codes
    if args.codes.is_dir():
        scp = args.codes / f"{CODES}.scp"
    if args.rewrite_scp:
        scp = rewrite_scp(scp.parent)
    info = check_codes(
        scp,
        args.data,
        num_codebooks=args.num_codebooks,
        codebook_size=args.codebook_size,
        tolerance=args.tolerance,
        values=True,
        policy=policy_from(args),
    )
    print(f"{scp}: good, {info}")


if __name__ == "__main__":
    sys.exit(main())
