"""Stage 0: packages, disk space and corpus, before anything costs time."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import shutil
import sys
from pathlib import Path

from espnet_kd.data.corpora import parse_corpus
from espnet_kd.errors import KDError

PACKAGES = ("torch", "torchaudio", "espnet", "s3prl", "soundfile", "scikit-learn", "matplotlib")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--min_free_gb", type=float, default=1.0)
    parser.add_argument("--packages", nargs="*", default=[], help="that are needed besides")
    args = parser.parse_args()
    problems = []
    try:
        kind, path = parse_corpus(args.corpus)
        if path and not Path(path).exists():
            problems.append(f"--corpus {args.corpus}: no such file or folder {path}")
    except KDError as error:
        kind = ""
        problems.append(str(error))
    packages = [*PACKAGES, *(["espeakng-loader"] if kind == "synthetic" else []), *args.packages]
    for name in packages:
        try:
            print(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:  # noqa: PERF203 (four packages)
            problems.append(f"package {name} is not installed; run make setup")
    free = shutil.disk_usage(".").free / 1e9
    if free < args.min_free_gb:
        problems.append(f"{free:.1f} GB free here, {args.min_free_gb:g} GB are needed")
    print(f"free disk {free:.0f} GB")
    if problems:
        sys.exit("\n".join(["stage 0 found:", *(f"  - {problem}" for problem in problems)]))


if __name__ == "__main__":
    main()
