"""Stage 2: join the Kaldi folders of several splits, unless they are joined already."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from espnet_kd.data.kaldi_check import check_kaldi_dir
from espnet_kd.data.prepare import combine
from espnet_kd.errors import KDError


def is_current(folders: list[Path], target: Path) -> bool:
    """Whether the target is whole and not older than its parts."""
    table = target / "wav.scp"
    if not table.is_file() or check_kaldi_dir(target):
        return False
    return all((f / "wav.scp").stat().st_mtime <= table.stat().st_mtime for f in folders)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    try:
        if is_current(args.folders, args.out):
            print(f"{args.out}: kept")
            return
        data = combine(args.folders, args.out)
    except KDError as error:
        sys.exit(f"combine.py: {error}")
    print(f"{args.out}: {len(data)} utterances, {data.hours:.1f} h")


if __name__ == "__main__":
    main()
