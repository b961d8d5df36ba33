"""Stage 0: packages, GPUs and disk, before anything costs time."""

from __future__ import annotations

import argparse
import importlib.metadata
import shutil
import sys

PACKAGES = ("torch", "espnet", "s3prl", "soundfile", "safetensors")


def version_of(name: str) -> str:
    """Name and version of a package that must be there."""
    try:
        return f"{name} {importlib.metadata.version(name)}"
    except importlib.metadata.PackageNotFoundError:
        sys.exit(f"package {name} is not installed; the README names the extra that brings it")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ngpu", type=int, default=0, help="GPUs that the recipe will use")
    parser.add_argument("--want_gb", type=float, default=0, help="disk that the recipe will fill")
    parser.add_argument("--packages", nargs="*", default=[], help="that the recipe needs besides")
    args = parser.parse_args()
    print(", ".join(map(version_of, [*PACKAGES, *args.packages])))
    free = shutil.disk_usage(".").free / 1e9
    short = f"; the whole recipe fills up to {args.want_gb:g} GB" if free < args.want_gb else ""
    print(f"{free:.0f} GB of disk are free here{short}")
    if args.ngpu:
        import torch

        found = torch.cuda.device_count()
        print(f"{found} GPU(s), {args.ngpu} wanted")
        if found < args.ngpu:
            # The machine of stage 0 need not be the one that trains.
            print(
                "this machine has too few: train elsewhere (cmd.sh), or --ngpu 0", file=sys.stderr
            )


if __name__ == "__main__":
    main()
