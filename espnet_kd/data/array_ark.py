"""Arrays in a Kaldi archive that grows: what is written stays, a torn last record is cut off.

A record is ``utterance``, a space, ``NPY``, the length of what follows, and a NumPy file: what
kaldiio writes with ``write_function="numpy"`` and ESPnet reads as ``kaldi_ark``, integers and all.
Each process has its own archive, as it has its own file of labels.
"""

from __future__ import annotations

import fcntl
import functools
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from espnet_kd.errors import DataDirError, KDError

if TYPE_CHECKING:
    from typing_extensions import Self

Array = npt.NDArray[Any]

_FLAG = b"NPY"
_BLOCK = 1024
"""Bytes that hold an utterance's id and an array's header."""
_NPY_HEAD = 10
"""Bytes of a NumPy file before its header: magic, version, the header's length."""


@dataclass(frozen=True)
class Entry:
    """One record, known by its header."""

    key: str
    """Utterance."""

    offset: int
    """Where kaldiio begins to read, as an ``.scp`` file has it."""

    end: int
    """Byte behind the record."""

    shape: tuple[int, ...]
    """Of the array."""

    dtype: np.dtype[Any]
    """Of the array."""


class TornError(Exception):
    """A file ends inside a record, as a killed process leaves it."""


def ark_path(folder: Path, kind: str, rank: int) -> Path:
    """The archive of one process, e.g. ``codes.00.ark``."""
    return folder / f"{kind}.{rank:02d}.ark"


def ark_paths(folder: Path, kind: str) -> list[Path]:
    """The archives of all processes that ever wrote."""
    return sorted(folder.glob(f"{kind}.[0-9]*.ark"))


class ArkWriter:
    """Add records to an archive; used as a context, which one process at a time can enter.

    Args:
        path: the archive.

    Raises:
        KDError: it cannot be written, or another process (of a run that was killed) still does.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._stream = path.open("ab", buffering=0)
            fcntl.lockf(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise KDError(
                f"a process of an earlier run still writes {path}; it ends by itself after its "
                "batch: start again in a moment"
            ) from None
        except OSError as error:
            raise KDError(f"cannot write {path}: {error.strerror or error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._stream.close()

    def write(self, arrays: Mapping[str, Array]) -> None:
        """Add arrays, down to the disk.

        Raises:
            KDError: the disk is full; what was there stays.
        """
        data = memoryview(_encoded(arrays))
        try:
            while data:
                data = data[self._stream.write(data) :]
            os.fsync(self._stream.fileno())
        except OSError as error:
            raise KDError(
                f"cannot write {self.path}: {error.strerror or error}; what is there stays, free "
                "some space and start the same command again"
            ) from error


def _encoded(arrays: Mapping[str, Array]) -> bytes:
    import kaldiio

    buffer = io.BytesIO()
    kaldiio.save_ark(buffer, dict(arrays), write_function="numpy")
    return buffer.getvalue()


def entries(path: Path, *, torn: bool = True) -> Iterator[Entry]:
    """The records of an archive in order, by their headers.

    Args:
        path: the archive.
        torn: whether a torn last record is an error; False: it is left out.

    Raises:
        DataDirError: the archive is damaged.
    """
    with path.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        start = 0
        while start < size:
            try:
                entry = _entry(stream, start, size, path)
            except TornError:
                if torn:
                    raise _damaged(path, start, "it ends inside a record") from None
                return
            yield entry
            start = entry.end


def mend(path: Path) -> list[Entry]:
    """Cut off a torn last record and return the others.

    Raises:
        KDError: another process still writes the archive.
        DataDirError: it is damaged elsewhere.
    """
    with ArkWriter(path):  # nobody else may
        pass
    found = list(entries(path, torn=False))
    end = found[-1].end if found else 0
    if end < path.stat().st_size:
        os.truncate(path, end)
    return found


def entry_at(stream: BinaryIO, key: str, offset: int, path: Path) -> Entry:
    """The record of an utterance at the place that an ``.scp`` file says.

    Args:
        stream: the open archive.
        key: the utterance.
        offset: behind its name.
        path: for messages.

    Raises:
        DataDirError: another utterance's record, none, or a damaged one is there.
    """
    size = os.fstat(stream.fileno()).st_size
    start = offset - len(key.encode()) - 1
    try:
        entry = _entry(stream, start, size, path) if start >= 0 else None
    except TornError:
        raise DataDirError(f"{path} is cut short inside the record of {key}") from None
    if entry is None or entry.key != key or entry.offset != offset:
        raise DataDirError(f"{path}: the record at byte {offset} is not that of {key}")
    return entry


def read_array(stream: BinaryIO, entry: Entry, path: Path) -> Array:
    """The array of a record.

    Raises:
        DataDirError: it is damaged.
    """
    stream.seek(entry.offset + len(_FLAG))
    stream.seek(stream.read(1)[0], os.SEEK_CUR)
    payload = io.BytesIO(stream.read(entry.end - stream.tell()))
    try:
        array: Array = np.load(payload, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise DataDirError(f"{path}: record of {entry.key} is damaged: {error}") from None
    return array


def npy_header(begin: bytes) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Shape and type of the array whose NumPy file begins so, and the size of that file.

    Raises:
        ValueError: this is no NumPy file (of version 1, as all plain arrays are), or one of
            objects.
    """
    length = _NPY_HEAD + int.from_bytes(begin[_NPY_HEAD - 2 : _NPY_HEAD], "little")
    return _parsed(begin[:length])


@functools.lru_cache(maxsize=4096)
def _parsed(header: bytes) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Utterances of one length have the same header."""
    stream = io.BytesIO(header)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("another version of NumPy's format")
    shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype.hasobject:
        raise ValueError("the array holds Python objects")
    values = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    return shape, dtype, len(header) + values


def _entry(stream: BinaryIO, start: int, size: int, path: Path) -> Entry:
    stream.seek(start)
    block = stream.read(_BLOCK)
    if not block.strip(b"\0"):
        raise TornError  # what some file systems leave of a write that a power cut ended
    name, space, rest = block.partition(b" ")
    head = len(_FLAG) + 1
    if not space and len(block) < _BLOCK:
        raise TornError
    if space and len(rest) < head and rest == _FLAG[: len(rest)]:
        raise TornError
    if not space or not rest.startswith(_FLAG) or rest[len(_FLAG)] > 8:
        raise _damaged(path, start, "no record of a NumPy array begins here")
    offset = start + len(name) + 1
    begin = head + rest[len(_FLAG)]
    if len(rest) < begin:
        raise TornError
    length = int.from_bytes(rest[head:begin], "little")
    end = offset + begin + length
    if end > size:
        raise TornError
    try:
        shape, dtype, taken = npy_header(rest[begin:])
        key = name.decode()
    except ValueError as error:
        raise _damaged(path, start, str(error)) from None
    if taken != length:
        raise _damaged(path, start, f"its {length} bytes do not hold {shape} of {dtype}")
    return Entry(key, offset, end, shape, dtype)


def _damaged(path: Path, start: int, reason: str) -> DataDirError:
    return DataDirError(
        f"{path} is damaged at byte {start} ({reason}); remove it and extract again what it held"
    )


def unique(found: Iterable[Entry]) -> dict[str, Entry]:
    """Records by utterance; of several the first."""
    by_key: dict[str, Entry] = {}
    for entry in found:
        by_key.setdefault(entry.key, entry)
    return by_key
