"""Turn a published checkpoint into a directory with ``config.json`` and ``model.safetensors``.

``--to dphubert`` writes one ``.pth`` file in DPHuBERT's published layout instead; ``--from native``
reads our own directories for it. Example::

    python -m espnet_kd.bin.convert --from armhubert --src ARMHuBERT-960h.ckpt --dst armhubert_960h
    python -m espnet_kd.bin.convert --from native --src pruned --to dphubert --dst pruned.pth
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_kd.checkpoints import FORMATS, WRITERS, load_native
from espnet_kd.encoder import SpeechEncoder
from espnet_kd.errors import CheckpointError, KDError


def get_parser() -> argparse.ArgumentParser:
    """Options of this command."""
    parser = argparse.ArgumentParser(prog="python -m espnet_kd.bin.convert", description=__doc__)
    readable = sorted([*FORMATS, "native"])
    parser.add_argument("--from", dest="source_format", required=True, choices=readable)
    parser.add_argument("--src", type=Path, required=True, help="published file or directory")
    parser.add_argument(
        "--config", type=Path, help="yaml (armhubert) or json (torchaudio) that goes with it"
    )
    parser.add_argument(
        "--to", dest="target_format", default="native", choices=sorted(WRITERS),
        help="native (a directory, the default) or dphubert (one .pth file)",
    )  # fmt: skip
    parser.add_argument("--dst", type=Path, required=True, help="directory or file to write")
    parser.add_argument("--sha256", help="refuse a --src file with another checksum")
    return parser


def convert(arguments: argparse.Namespace) -> str:
    """Convert and return one line that says what was written.

    Raises:
        KDError: the source cannot be read or the target not be written.
    """
    if arguments.sha256:
        _check_sha256(arguments.src, arguments.sha256)
    model = _load(arguments)
    WRITERS[arguments.target_format](model, arguments.dst)
    count = sum(parameter.numel() for parameter in model.parameters())
    shape = f"{model.config.family}, {model.config.num_layers} layers, {count:,} parameters"
    return f"{arguments.dst}: {shape}"


def _load(arguments: argparse.Namespace) -> SpeechEncoder:
    if arguments.source_format != "native":
        return FORMATS[arguments.source_format](arguments.src, arguments.config)
    if arguments.config is not None:
        raise CheckpointError("our directories carry their own config.json; leave --config out")
    return load_native(arguments.src)


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
