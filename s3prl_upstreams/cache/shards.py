"""Tensors on disk under digests: files that only grow, one per process, readable at any instant.

A shard is a row of records, header and raw numbers. A killed process leaves a shard whose last
record is cut short, which readers pass over. There is no index file that could disagree: headers
are read at the start, 10 µs each. Headers and numbers carry checksums.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
import uuid
import zlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from s3prl_upstreams.cache.keys import KEY_BYTES
from s3prl_upstreams.cache.report import say, say_once, size

SUFFIX = ".shard"
SHARD_BYTES = 4_000_000_000
"""A file that is larger gets no more records."""

RESERVE_BYTES = 2_000_000_000
"""Left free on the disk, or a quarter of a small one: checkpoints are to be written there too."""
LOOK_AGAIN = 100
"""After each such part of the budget, what others have added is looked up."""

_MAGIC = b"KDshard1"
_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_AXES = 4
_HEADER = struct.Struct(f"<8s{KEY_BYTES}sQIIBBBx{_AXES}Q")
_CHECK = struct.Struct("<I")
_HEADER_BYTES = _HEADER.size + _CHECK.size


@dataclass(frozen=True)
class Entry:
    """What is kept under one key."""

    tensor: Tensor
    """Up to four axes, on the CPU."""
    frames: int = 0
    """Frames that the upstream gives for this wave when it is the longest of its batch."""
    single: bool = False
    """Whether the upstream gave one tensor, not a list of layers."""

    @property
    def nbytes(self) -> int:
        """Bytes of the numbers."""
        return self.tensor.numel() * self.tensor.element_size()


@dataclass(frozen=True)
class _Place:
    shard: int
    offset: int
    nbytes: int
    checksum: int
    frames: int
    single: bool
    dtype: torch.dtype
    shape: tuple[int, ...]


class ShardFolder:
    """The records of all shards in a folder, and a shard of one's own for new ones.

    Args:
        folder: of one upstream and mode; made when missing.
        budget: bytes that all shards in the folder's parent may take together.

    Other processes may write there at the same time: each sees what was there when it began, or
    when it last looked (:meth:`refresh`).
    A full disk or budget ends the adding, with one line on stderr, and never the run.
    """

    def __init__(self, folder: Path, budget: int) -> None:
        self.folder = folder
        self.budget = budget
        self.left = budget
        self.added = 0
        self._places: dict[bytes, _Place] = {}
        self._paths: list[Path] = []
        self._files: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        self._own: int | None = None
        self._own_bytes = 0
        self._full = False
        self._unseen = 0
        self.refresh()

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: bytes) -> bool:
        return key in self._places

    def refresh(self) -> None:
        """Look at the folder again: others may have added shards, or records to theirs."""
        self._look()
        known = {path: shard for shard, path in enumerate(self._paths)}
        for path in _shards(self.folder):
            if path not in known:
                self._open(path)
            elif known[path] in self._ends:
                self._read_headers(known[path])

    def get(self, key: bytes) -> Entry | None:
        """Read what is kept under a key; None = nothing, or it was damaged."""
        place = self._places.get(key)
        if place is None:
            return None
        numbers = torch.empty(place.nbytes, dtype=torch.uint8)
        view = numbers.numpy().data
        if not _read(self._files[place.shard], view, place.offset):
            self._forget(place.shard, "cannot be read")
            return None
        if zlib.crc32(view) != place.checksum:
            self._forget(place.shard, f"is damaged (checksum at byte {place.offset})")
            return None
        tensor = numbers.view(place.dtype).view(place.shape)
        return Entry(tensor, place.frames, place.single)

    def put(self, key: bytes, entry: Entry) -> None:
        """Keep an entry, unless there is no place left."""
        fits = entry.tensor.dtype in _DTYPES and entry.tensor.dim() <= _AXES
        if self._full or key in self._places or not fits:
            return
        needed = entry.nbytes + _HEADER_BYTES
        if self._unseen > self.budget / LOOK_AGAIN:
            self._look()
        if needed > self.left:
            self._stop(f"the budget is used up ({size(max(0, self.left))} left)")
            return
        try:
            self._append(key, entry)
        except OSError as error:
            self._stop(error.strerror or str(error))
            return
        self.left -= needed
        self.added += needed
        self._unseen += needed

    def close(self) -> None:
        """Close all files."""
        for file in self._files.values():
            os.close(file)
        self._files.clear()
        self._places.clear()

    def _look(self) -> None:
        """See what all shards take by now; those of other runs, too, may grow."""
        taken = 0
        for path in _shards(self.folder.parent, "*/"):
            with contextlib.suppress(OSError):  # somebody has deleted it
                taken += path.stat().st_size
        self.left, self._unseen = self.budget - taken, 0

    def _append(self, key: bytes, entry: Entry) -> None:
        if self._own is None or self._own_bytes > SHARD_BYTES:
            self._own = self._open_own()
        begin = self._own_bytes
        _leave_room(self._files[self._own], entry.nbytes)
        numbers = entry.tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
        checksum = zlib.crc32(numbers.data)
        file = self._files[self._own]
        try:
            _write(file, _pack(key, entry, checksum))
            _write(file, numbers.data)
        except OSError:
            os.ftruncate(file, begin)
            raise
        offset = begin + _HEADER_BYTES
        self._own_bytes = offset + entry.nbytes
        shape = tuple(entry.tensor.shape)
        self._places[key] = _Place(
            self._own, offset, entry.nbytes, checksum, entry.frames, entry.single,
            entry.tensor.dtype, shape,
        )  # fmt: skip

    def _open_own(self) -> int:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{uuid.uuid4().hex}{SUFFIX}"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND
        self._own_bytes = 0
        return self._add_file(path, os.open(path, flags, 0o666))

    def _add_file(self, path: Path, file: int) -> int:
        self._paths.append(path)
        self._files[len(self._paths) - 1] = file
        return len(self._paths) - 1

    def _open(self, path: Path) -> None:
        """Read a shard of another process."""
        try:
            file = os.open(path, os.O_RDONLY)
        except OSError as error:
            say(f"{path} is ignored: {error.strerror}")
            return
        shard = self._add_file(path, file)
        self._ends[shard] = 0
        self._read_headers(shard)

    def _read_headers(self, shard: int) -> None:
        """Read what was added since the last time."""
        file, offset = self._files[shard], self._ends[shard]
        end = os.fstat(file).st_size
        while offset + _HEADER_BYTES <= end:
            found = _unpack(os.pread(file, _HEADER_BYTES, offset), shard, offset + _HEADER_BYTES)
            if found is None:
                path = self._paths[shard]
                say(f"{path} is damaged at byte {offset}; what follows there is ignored")
                del self._ends[shard]
                return
            key, place = found
            offset = place.offset + place.nbytes
            if offset > end:
                return
            self._places.setdefault(key, place)
            self._ends[shard] = offset

    def _forget(self, shard: int, reason: str) -> None:
        """Trust nothing of a shard any more."""
        say(f"{self._paths[shard]} {reason}; it is ignored, its features are computed again")
        self._places = {key: p for key, p in self._places.items() if p.shard != shard}
        self._ends.pop(shard, None)
        if shard == self._own:
            self._own = None

    def _stop(self, reason: str) -> None:
        self._full = True
        say_once(f"{self.folder.parent}: {reason}; nothing more is added, the run goes on")


def _shards(folder: Path, below: str = "") -> list[Path]:
    """Shards in a folder; none where it cannot be read, or is not there yet."""
    try:
        return sorted(folder.glob(f"{below}*{SUFFIX}"))
    except OSError as error:
        say_once(f"{folder} cannot be read: {error.strerror}; the run goes on")
        return []


def _leave_room(file: int, needed: int) -> None:
    """Raise OSError if the disk would have less than the reserve afterwards."""
    disk = os.fstatvfs(file)
    reserve = min(RESERVE_BYTES, disk.f_blocks * disk.f_frsize // 4)
    if disk.f_bavail * disk.f_frsize < needed + reserve:
        text = f"the disk is full but for {size(reserve)}, which are left to checkpoints"
        raise OSError(errno.ENOSPC, text)


def _pack(key: bytes, entry: Entry, checksum: int) -> bytes:
    tensor = entry.tensor
    shape = (*tensor.shape, *(0,) * (_AXES - tensor.dim()))
    header = _HEADER.pack(
        _MAGIC, key, entry.nbytes, checksum, entry.frames, entry.single,
        _DTYPES.index(tensor.dtype), tensor.dim(), *shape,
    )  # fmt: skip
    return header + _CHECK.pack(zlib.crc32(header))


def _unpack(raw: bytes, shard: int, offset: int) -> tuple[bytes, _Place] | None:
    """Return key and place of a record; None = no header."""
    header = raw[: _HEADER.size]
    if len(raw) < _HEADER_BYTES or _CHECK.unpack(raw[_HEADER.size :])[0] != zlib.crc32(header):
        return None
    magic, key, nbytes, checksum, frames, single, dtype, dim, *shape = _HEADER.unpack(header)
    if magic != _MAGIC:
        return None
    place = _Place(
        shard, offset, nbytes, checksum, frames, bool(single), _DTYPES[dtype], tuple(shape[:dim])
    )
    return key, place


def _read(file: int, view: memoryview, offset: int) -> bool:
    """Fill ``view`` from a file; whether all of it came."""
    done = 0
    while done < len(view):
        try:
            count = os.preadv(file, [view[done:]], offset + done)
        except OSError:
            return False
        if count == 0:
            return False
        done += count
    return True


def _write(file: int, data: bytes | memoryview) -> None:
    """Write all of ``data``, which a nearly full disk takes only in part."""
    view = memoryview(data).cast("B")
    while len(view):
        view = view[os.write(file, view) :]
