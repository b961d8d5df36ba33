"""Stage 1: unpack a corpus that was downloaded by hand, or fetch its archive first.

``unpack.py cv-corpus-16.1-hi.tar.gz --out downloads/commonvoice``; the folder is complete or not
there. An address is fetched as fetch.py does it, resumed where it stopped.
"""

from __future__ import annotations

import argparse
import os
import sys
import tarfile
import tempfile
from pathlib import Path

from egs.TEMPLATE.fetch import FetchError, fetch


def unpack(archive: Path, target: Path) -> None:
    """Unpack beside ``target`` and move it there when all is written."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
        content = Path(folder) / "content"
        with tarfile.open(archive) as tar:
            tar.extractall(content, filter="data")
        os.replace(content, target)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("archive", help="a .tar or .tar.gz file, or its address")
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    parser.add_argument("--sha256", default="", help="checksum that a fetched archive must have")
    args = parser.parse_args()
    if args.out.is_dir():
        print(f"{args.out}: kept")
        return
    archive = Path(args.archive)
    try:
        if "://" in args.archive:
            name = args.archive.partition("?")[0].rsplit("/", 1)[-1]
            archive = args.out.parent / (name or "archive.tar.gz")
            fetch(args.archive, archive, args.sha256)
        unpack(archive, args.out)
    except (FetchError, tarfile.TarError, OSError) as error:
        sys.exit(f"unpack.py: {archive}: {error}")
    print(f"{args.out}: unpacked from {archive.name}")


if __name__ == "__main__":
    main()
