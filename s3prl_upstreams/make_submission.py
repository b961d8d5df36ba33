"""Make SUPERB's ``predict.zip`` out of finished experiments.

    python -m s3prl_upstreams.make_submission --exp exp/superb --output_dir submission

takes every task that has a folder in ``--exp``; ``--tasks asr sid`` takes those only. The options
of S3PRL's ``submit.py`` (``--pr DIR --er_fold1 DIR ...``) name folders elsewhere, alone or beside
``--exp``, whose folders they replace.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from espnet_kd.errors import KDError
from s3prl_upstreams.scoring.submission import (
    PARTS,
    TASKS,
    Folders,
    folders_by_option,
    folders_of,
    write_submission,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0 = done, 1 = a problem that is on stderr."""
    options = _parser().parse_args(argv)
    given = {part.option: getattr(options, part.option) for part in PARTS}
    folders: Folders = {}
    try:
        if options.exp is not None:
            folders |= folders_of(options.exp, options.tasks)
        folders |= folders_by_option({name: path for name, path in given.items() if path})
        path = write_submission(folders, options.output_dir)
    except KDError as error:
        print(f"make_submission: {error}", file=sys.stderr)
        return 1
    taken = {part.task for part in folders}
    print(f"{path}: {' '.join(task for task in TASKS if task in taken)}")
    left = [task for task in TASKS if task not in taken]
    if left:
        print(f"not in it: {' '.join(left)} (no experiment folder)")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m s3prl_upstreams.make_submission")
    parser.add_argument("--exp", help=f"folder with one experiment per task: {' '.join(TASKS)}")
    parser.add_argument("--tasks", nargs="+", help="take these only (default: all in --exp)")
    parser.add_argument("--output_dir", required=True, help="folder for predict.zip")
    single = parser.add_argument_group("experiment folders one by one, as S3PRL's submit.py")
    for part in PARTS:
        single.add_argument(f"--{part.option}", metavar="DIR", help=part.source)
    return parser


if __name__ == "__main__":
    sys.exit(main())
