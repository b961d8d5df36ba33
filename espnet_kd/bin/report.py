"""Make a report of finished runs.

``python -m espnet_kd.bin.report --runs results/*.json --out DIR``

Writes report.html (self-contained), RESULTS.md, curves.png and pareto.png. The run JSON is
described in ``espnet_kd/evaluation/runs.py``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_kd.errors import KDError


def get_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(prog="espnet_kd.bin.report", description=__doc__)
    parser.add_argument("--runs", nargs="+", required=True, metavar="JSON", help="run JSON files")
    parser.add_argument("--out", type=Path, required=True, help="folder for the report")
    parser.add_argument("--title", default="Results", help="heading of page and RESULTS.md")
    parser.add_argument(
        "--figures", nargs="+", default=[], metavar="CAPTION=PNG", help="further figures"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Read the runs, write the report, print what was written."""
    args = get_parser().parse_args(argv)
    # Matplotlib takes a second to import; --help need not wait for it.
    from espnet_kd.evaluation.report import write_report
    from espnet_kd.evaluation.runs import load_runs

    pairs = (figure.rpartition("=") for figure in args.figures)
    figures = {caption: Path(file) for caption, _, file in pairs}
    try:
        for file in figures.values():
            if not file.is_file():
                raise KDError(f"--figures: no such file {file}; run the stage that draws it")
        written = write_report(load_runs(args.runs), args.out, args.title, figures)
    except KDError as error:
        sys.exit(f"espnet_kd.bin.report: {error}")
    for path in written.values():
        print(path)


if __name__ == "__main__":
    main()
