"""Published codes of icefall: lhotse manifests (JSON Lines, gzip) beside HDF5 files.

A cut names its codes in ``custom.codebook_indexes``: file and key of an array (frames, codebooks),
written by lhotse's ``NumpyHdf5Writer``. lhotse is not needed to read them.
"""

from __future__ import annotations

import gzip
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from espnet_kd.data.array_ark import Array
from espnet_kd.errors import DataDirError, MissingDependencyError

FIELD = "codebook_indexes"
_STORAGE = "numpy_hdf5"
_SPEED = r"sp(\d+(?:\.\d+)?)"


@dataclass(frozen=True)
class StoredCodes:
    """Where the codes of one cut are."""

    cut: str
    """Id of the cut."""

    manifest: Path
    """That names it."""

    seconds: float
    """Duration of the cut."""

    file: str
    """HDF5 file, as the manifest has it."""

    key: str
    """Of the array in the file."""

    shape: tuple[int, ...]
    """That it must have."""

    frame_shift: float
    """Seconds between frames."""


def read_manifest(path: Path, field: str = FIELD) -> Iterator[StoredCodes]:
    """The cuts of a manifest (``.jsonl`` or ``.jsonl.gz``) with their codes.

    Raises:
        DataDirError: it is missing or damaged, a cut has no such field, or the codes are stored in
            another way; the message names file, line and cut.
    """
    number = 0
    try:
        opened: Any = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", encoding="utf-8") as stream:
            for number, line in enumerate(stream, 1):
                yield _stored(json.loads(line), path, number, field)
    except DataDirError:
        raise
    except (OSError, EOFError, ValueError) as error:
        raise DataDirError(
            f"{path}:{number + 1}: cannot be read ({error}); fetch the manifest again"
        ) from None


def _stored(cut: Any, path: Path, number: int, field: str) -> StoredCodes:
    where = f"{path}:{number}"
    try:
        name = str(cut["id"])
        values = (cut.get("custom") or {}).get(field)
    except (TypeError, KeyError, AttributeError):
        raise DataDirError(f"{where}: is no cut of a lhotse manifest") from None
    if values is None:
        known = ", ".join(cut.get("custom") or {}) or "none"
        raise DataDirError(
            f"{where}: cut {name} has no {field} (its custom fields: {known}); give the manifest "
            "that the extraction wrote (with_codebook_indexes-*.jsonl.gz), or --field"
        )
    try:
        array = values["array"]
        kind = array["storage_type"]
        if kind != _STORAGE:
            raise DataDirError(
                f"{where}: cut {name} is stored as {kind}; only {_STORAGE} can be read"
            )
        shape = tuple(int(n) for n in array["shape"])
        if len(shape) != 2:
            raise DataDirError(f"{where}: cut {name} has {shape}, not (frames, codebooks)")
        seconds, frame_shift = float(cut["duration"]), float(values["frame_shift"])
        if not (0 < seconds < math.inf and 0 < frame_shift < math.inf):
            raise DataDirError(
                f"{where}: cut {name} lasts {seconds:g} s and has a frame every {frame_shift:g} s; "
                "correct the manifest"
            )
        return StoredCodes(
            name,
            path,
            seconds,
            str(array["storage_path"]),
            str(array["storage_key"]),
            shape,
            frame_shift,
        )
    except (TypeError, KeyError, ValueError) as error:
        if isinstance(error, DataDirError):
            raise
        raise DataDirError(f"{where}: cut {name}: {field} is incomplete ({error!r})") from None


def common_id(name: str) -> str:
    """The part of an id that all versions of a corpus share, and its speed.

    The first three parts between dashes (lhotse appends numbers since 1.11), with ``_sp0.9`` behind
    them, where ESPnet and Kaldi write ``sp0.9-`` before.
    """
    speed = ""
    for pattern in (rf"\A{_SPEED}-", rf"_{_SPEED}"):
        found = re.search(pattern, name)
        if found:
            speed = speed or f"{float(found[1]):g}"
            name = name.replace(found[0], "", 1)
    short = "-".join(name.split("-")[:3])
    return f"{short}_sp{speed}" if speed not in ("", "1") else short


@dataclass
class Match:
    """Which codes belong to which utterance."""

    codes: dict[str, StoredCodes]
    """Utterance -> codes."""

    missing: list[str]
    """Utterances without codes."""

    unused: int
    """Cuts that belong to no utterance."""


def match_ids(stored: Sequence[StoredCodes], utterances: Iterable[str] | None) -> Match:
    """Join codes and utterances by id, or else by :func:`common_id`.

    Args:
        stored: all codes.
        utterances: of the data; None: the cuts' ids are the utterances'.

    Raises:
        DataDirError: two cuts would be the same utterance's.
    """
    exact = _by_id(stored, [item.cut for item in stored])
    if utterances is None:
        return Match(exact, [], 0)
    wanted = list(utterances)
    if all(key in exact for key in wanted):
        found = {key: exact[key] for key in wanted}
    else:
        common = _by_id(stored, [common_id(item.cut) for item in stored])
        _by_id(wanted, [common_id(key) for key in wanted])
        either = {key: exact.get(key) or common.get(common_id(key)) for key in wanted}
        found = {key: item for key, item in either.items() if item is not None}
    missing = [key for key in wanted if key not in found]
    return Match(found, missing, len(stored) - len({item.cut for item in found.values()}))


def _by_id(items: Sequence[Any], ids: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, item in zip(ids, items, strict=True):
        if key in found:
            raise DataDirError(
                f"{_named(found[key])} and {_named(item)} are both {key}; import them one by one, "
                "or rename one"
            )
        found[key] = item
    return found


def _named(item: Any) -> str:
    return f"cut {item.cut} of {item.manifest}" if isinstance(item, StoredCodes) else str(item)


class CodeFiles:
    """The HDF5 files of manifests, wherever they lie now.

    Args:
        storage_dir: where to look for them first; None: as the manifests say, from the working
            folder or from a folder above the manifest.

    Raises:
        MissingDependencyError: h5py is not installed.
    """

    def __init__(self, storage_dir: Path | None) -> None:
        try:
            import h5py
        except ImportError:
            raise MissingDependencyError(
                "codes of icefall lie in HDF5 files; install h5py (uv pip install h5py)"
            ) from None
        self._h5py = h5py
        self.storage_dir = storage_dir
        self._name = ""
        self._file: Any = None

    def find(self, stored: StoredCodes) -> Path:
        """The file of these codes.

        Raises:
            DataDirError: it is nowhere.
        """
        path = Path(stored.file)
        tails = [Path(*path.parts[i:]) for i in range(len(path.parts))]
        if self.storage_dir is not None:
            places = [self.storage_dir / tail for tail in tails if not tail.is_absolute()]
        else:
            above = stored.manifest.resolve().parents
            places = [path, *(folder / path for folder in above)]
        for place in places:
            if place.is_file():
                return place
        raise DataDirError(
            f"{stored.manifest}: cut {stored.cut} is in {stored.file}, which is not there; say "
            "with --storage_dir where the HDF5 files lie"
        )

    def read(self, stored: StoredCodes) -> Array:
        """The codes (T, N) of a cut.

        Raises:
            DataDirError: the file is damaged, has no such key, or another shape than promised.
        """
        path = self.find(stored)
        try:
            if str(path) != self._name:
                self.close()
                self._file, self._name = self._h5py.File(path, "r"), str(path)
            array: Array = np.asarray(self._file[stored.key][()])
        except KeyError:
            raise DataDirError(f"{path} has no codes of cut {stored.cut} ({stored.key})") from None
        except OSError as error:
            raise DataDirError(
                f"{path} is damaged or cut short at cut {stored.cut} ({error}); fetch it again"
            ) from None
        if array.shape != stored.shape or array.dtype.kind not in "iu":
            raise DataDirError(
                f"{path}: cut {stored.cut} has {array.shape} of {array.dtype}, its manifest says "
                f"{stored.shape} integers"
            )
        return array

    def close(self) -> None:
        """Close the file that is open."""
        if self._file is not None:
            self._file.close()
        self._file, self._name = None, ""


def sample_counts(
    match: Match, samples: Mapping[str, int] | None, sample_rate: int
) -> dict[str, int]:
    """Utterance -> samples: the data's, or by the manifests' durations."""
    if samples is not None:
        return {key: samples[key] for key in match.codes}
    return {key: round(item.seconds * sample_rate) for key, item in match.codes.items()}
