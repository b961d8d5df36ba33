"""How many samples a file *promises*, so that a truncated recording is not read in silence.

libsndfile shortens its own idea of a truncated WAV or SPH file to what is there; the number
that the writer put into the header is the only witness.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

_STREAMED = (0, 0xFFFFFFFF)
"""Sizes that a writer leaves behind when it could not seek back (a pipe): no promise."""


def promised_samples(source: Path | BinaryIO) -> int | None:
    """Samples per channel that a file's header promises; None where it does not say.

    Knows RIFF/WAV and NIST SPHERE. FLAC needs no help: soundfile reports its promise itself.

    Args:
        source: a path, or the open file at its beginning.
    """
    if isinstance(source, Path):
        with source.open("rb") as stream:
            return promised_samples(stream)
    magic = source.read(12)
    if magic[:4] == b"RIFF" and magic[8:12] == b"WAVE":
        return _wav_samples(source)
    if magic[:7] == b"NIST_1A":
        source.seek(0)
        return _sphere_samples(source)
    return None


def _wav_samples(stream: BinaryIO) -> int | None:
    block_bytes = 0
    while len(header := stream.read(8)) == 8:
        name, size = struct.unpack("<4sI", header)
        if name == b"fmt ":
            fields = stream.read(size)
            if len(fields) < 16:
                return None
            code, block_bytes = struct.unpack("<H10xH", fields[:14])
            if code not in (1, 3, 0xFFFE):  # compressed: bytes do not count samples
                return None
        elif name == b"data":
            if size in _STREAMED or block_bytes == 0:
                return None
            return int(size // block_bytes)
        else:
            stream.seek(size + size % 2, 1)
    return None


def _sphere_samples(stream: BinaryIO) -> int | None:
    for line in stream.read(1024).split(b"\n"):
        fields = line.split()
        if len(fields) == 3 and fields[0] == b"sample_count" and fields[2].isdigit():
            return int(fields[2])
        if line.strip() == b"end_head":
            break
    return None
