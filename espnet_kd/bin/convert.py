"""Turn a published checkpoint into a directory with ``config.json`` and ``model.safetensors``.

Example::

    python -m espnet_kd.bin.convert --from armhubert --src ARMHuBERT-960h.ckpt --dst armhubert_960h
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_kd.checkpoints import FORMATS
from espnet_kd.errors import CheckpointError, KDError


def get_parser() -> argparse.ArgumentParser:
    """Options of this command."""
    parser = argparse.ArgumentParser(prog="python -m espnet_kd.bin.convert", description=__doc__)
    parser.add_argument("--from", dest="source_format", required=True, choices=sorted(FORMATS))
    parser.add_argument("--src", type=Path, required=True, help="published file or directory")
    parser.add_argument(
        "--config", type=Path, help="yaml (armhubert) or json (torchaudio) that goes with it"
    )
    parser.add_argument("--dst", type=Path, required=True, help="directory to write")
    parser.add_argument("--sha256", help="refuse a --src file with another checksum")
    return parser


def convert(arguments: argparse.Namespace) -> str:
    """Convert and return one line that says what was written.

    Raises:
        KDError: the source cannot be read or the target not be written.
    """
    if arguments.sha256:
        _check_sha256(arguments.src, arguments.sha256)
    model = FORMATS[arguments.source_format](arguments.src, arguments.config)
    model.save_pretrained(arguments.dst)
    count = sum(parameter.numel() for parameter in model.parameters())
    shape = f"{model.config.family}, {model.config.num_layers} layers, {count:,} parameters"
    return f"{arguments.dst}: {shape}"


def _check_sha256(source: Path, expected: str) -> None:
    if not source.is_file():
        raise CheckpointError(f"{source} is not a file, so it has no checksum to compare")
    with source.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != expected.lower():
        raise CheckpointError(f"{source} has checksum {found}, expected {expected}; fetch it again")


def main(command: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    try:
        print(convert(get_parser().parse_args(command)))
    except KDError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
