"""Vectors to train a quantiser on: NumPy arrays, Kaldi archives and safetensors files.

Shapes: T vectors (frames), D width.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from espnet_kd.data.tables import read_table
from espnet_kd.errors import DataDirError
from espnet_kd.utils.model_directory import read_safetensors

Vectors = npt.NDArray[np.float32]
_DAMAGED = (
    OSError, ValueError, EOFError, KeyError, RuntimeError, AssertionError, struct.error,
)  # fmt: skip
"""What the readers raise on damaged files."""
SUFFIXES = (".npy", ".ark", ".scp", ".safetensors")


def read_embeddings(paths: Sequence[Path], max_frames: int = 0, seed: int = 0) -> Vectors:
    """All vectors (T, D) of the files, in random order.

    Args:
        paths: ``.npy`` (T, D), Kaldi ``.ark`` or ``.scp``, ``.safetensors`` (each tensor (T, D));
            of a folder, all such files in it.
        max_frames: at most so many of them, drawn at random; 0 = all.
        seed: of the order.

    Raises:
        DataDirError: a file is missing, damaged or of another kind, widths differ, or a value is
            not finite; the message names file and utterance.
    """
    parts: list[Vectors] = []
    width = 0
    for file in _files(paths):
        for name, found in _matrices(file):
            vectors = _checked(found, f"{file}, {name}")
            if width and vectors.shape[1] != width:
                raise DataDirError(
                    f"{file}, {name}: vectors of width {vectors.shape[1]}, those before have "
                    f"{width}; a quantiser is for one layer of one teacher"
                )
            width = vectors.shape[1]
            parts.append(vectors)
    if not parts:
        raise DataDirError(f"no vectors in {', '.join(map(str, paths))}")
    whole = np.concatenate(parts)
    order = np.random.default_rng(seed).permutation(len(whole))
    chosen: Vectors = whole[order[:max_frames] if max_frames else order]
    return chosen


def _files(paths: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix in SUFFIXES)
            # An .scp only points into the archives beside it.
            files += [p for p in inside if p.suffix != ".scp" or len(inside) == 1]
        else:
            files.append(path)
    for file in files:
        if file.suffix not in SUFFIXES or not file.is_file():
            kinds = ", ".join(SUFFIXES)
            raise DataDirError(f"{file} does not exist or is none of {kinds}")
    return files


def _matrices(file: Path) -> Iterator[tuple[str, npt.NDArray[np.generic]]]:
    """Yield (utterance, matrix) of a file."""
    if file.suffix == ".safetensors":
        for name, tensor in read_safetensors(file).items():
            yield name, tensor.float().numpy()
        return
    _refuse_commands(file)
    try:
        if file.suffix == ".npy":
            yield "its array", np.load(file, allow_pickle=False)
            return
        import kaldiio

        if file.suffix == ".ark":
            yield from kaldiio.load_ark(str(file))
        else:
            yield from kaldiio.load_scp(str(file)).items()
    except _DAMAGED as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataDirError(f"{file} is damaged or cut short: {reason}; extract it again") from None


def _refuse_commands(file: Path) -> None:
    """The reader would run them in a shell."""
    rows = read_table(file).rows if file.suffix == ".scp" else []
    for row in rows:
        if row.value.startswith("|") or row.value.endswith("|"):
            raise DataDirError(
                f"{file}:{row.line}: {row.key} is a command ({row.value}); commands are not run, "
                "write its output to an archive"
            )


def _checked(found: npt.NDArray[np.generic], where: str) -> Vectors:
    if found.ndim != 2 or found.dtype.kind != "f":
        raise DataDirError(
            f"{where}: {found.shape} of {found.dtype}; expected floats (frames, width)"
        )
    vectors = found.astype(np.float32)
    if not np.isfinite(vectors).all():
        raise DataDirError(f"{where}: NaN or infinity; check the teacher and its precision")
    return vectors
