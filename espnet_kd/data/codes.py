"""Check codes against the speech that they are of, before anything is trained on them.

Codes are a stream ``codes.scp,codes,kaldi_ark`` (or ``npy``) of integers (T, N): T frames, N
codebooks. Lengths and types come from headers: a million utterances take half a minute.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from espnet_kd.data.array_ark import Array, Entry, entry_at, npy_header, read_array
from espnet_kd.data.audio import DEFAULT_POLICY, AudioPolicy
from espnet_kd.data.codes_info import CodesInfo, FrameRule, read_info
from espnet_kd.data.recordings import Recordings, open_recordings
from espnet_kd.data.tables import read_table
from espnet_kd.errors import AudioError, DataDirError

_SHOWN = 3
_READERS, _TOGETHER = 8, 10_000
"""Threads that read headers, and recordings that are handed to them at a time."""
_FOREIGN_TOLERANCE = 1
"""Frames by which codes of others may differ: icefall keeps samples // 320."""

_KINDS = {
    "missing": "utterance(s) without codes; extract them, or leave them out",
    "length": "utterance(s) whose codes have another length than their speech; they belong to "
    "another version of it (speed, segments): extract them again",
    "codebooks": "utterance(s) with another number of codebooks",
    "range": "utterance(s) with codes out of range; they belong to another quantiser, or are "
    "damaged",
    "type": "utterance(s) whose codes are no integers (frames, codebooks)",
    "damaged": "damaged record(s); extract them again",
}


@dataclass
class _Problems:
    """What is wrong, by kind."""

    found: dict[str, list[str]] = field(default_factory=dict)

    def note(self, kind: str, example: str) -> None:
        self.found.setdefault(kind, []).append(example)

    def refuse(self, what: str) -> None:
        if not self.found:
            return
        lines = []
        for kind, examples in sorted(self.found.items(), key=lambda item: [*_KINDS].index(item[0])):
            more = ", ..." if len(examples) > _SHOWN else ""
            shown = "; ".join(examples[:_SHOWN]) + more
            lines.append(f"\n  - {len(examples)} {_KINDS[kind]}: {shown}")
        raise DataDirError(f"{what}:{''.join(lines)}")


def check_codes(
    scp: str | Path,
    data_dir: str | Path | None = None,
    *,
    samples: Mapping[str, int] | None = None,
    num_codebooks: int | None = None,
    codebook_size: int | None = None,
    tolerance: int | None = None,
    values: bool = False,
    policy: AudioPolicy = DEFAULT_POLICY,
) -> CodesInfo:
    """Check a table of codes, and that each utterance of the data has codes of its length.

    What ``codes.json`` beside the table says is what is expected, where nothing else is asked for.

    Args:
        scp: the table, of a folder of ours or of others.
        data_dir: Kaldi folder of the speech; lengths from ``utt2num_samples`` or from headers.
        samples: utterance -> samples, instead of a folder; without both all codes are looked at,
            but their lengths are not checked.
        num_codebooks: N.
        codebook_size: every code must be below it.
        tolerance: frames by which codes and speech may differ; by default none for teachers of
            ours, 1 for codes without ``codes.json``.
        values: read all codes (and check their range), not only headers.
        policy: how ``data_dir`` is read.

    Returns:
        Sizes; ``utterances`` and ``frames`` are those that were checked.

    Raises:
        DataDirError: lists all kinds of problems with counts and the first utterances.
    """
    table = Path(scp)
    if not table.is_file():
        raise DataDirError(f"{table}: no such file; extract the codes first")
    if samples is None and data_dir is not None:
        samples = speech_samples(data_dir, policy)
    expected = _expected(table, num_codebooks, codebook_size, tolerance)
    check = _Check(table, expected, samples, values)
    check.run()
    check.problems.refuse(f"{table} does not fit {data_dir or 'the speech'}" if samples is not None
                          else f"{table} cannot be used")  # fmt: skip
    if not check.utterances:
        raise DataDirError(f"{table}: no utterance has codes; write the table or extract them anew")
    return replace(check.expected, utterances=check.utterances, frames=check.frames)


def speech_samples(data_dir: str | Path, policy: AudioPolicy = DEFAULT_POLICY) -> dict[str, int]:
    """Samples of each utterance of a Kaldi folder.

    Raises:
        DataDirError: the folder has problems, or recordings that cannot be used (all are listed).
    """
    recordings = open_recordings(data_dir, policy)
    samples, bad = count_samples(recordings)
    if bad:
        listing = "".join(f"\n  {reason}" for reason in list(bad.values())[:20])
        raise DataDirError(f"{data_dir}: {len(bad)} recording(s) cannot be used{listing}")
    return samples


def count_samples(recordings: Recordings) -> tuple[dict[str, int], dict[str, str]]:
    """Samples of the utterances, and why others cannot be used."""

    def count(utterance: str) -> int | str:
        try:
            return recordings.count(utterance)
        except AudioError as error:
            return str(error)

    utterances, known = recordings.utterances, recordings.data.num_samples
    found: dict[str, int | str] = {key: known[key] for key in utterances if key in known}
    unknown = [key for key in utterances if key not in known]
    with ThreadPoolExecutor(_READERS) as pool:
        for start in range(0, len(unknown), _TOGETHER):
            keys = unknown[start : start + _TOGETHER]
            found |= zip(keys, pool.map(count, keys), strict=True)
    good = {key: value for key, value in found.items() if isinstance(value, int)}
    return good, {key: value for key, value in found.items() if isinstance(value, str)}


def _expected(
    scp: Path, num_codebooks: int | None, codebook_size: int | None, tolerance: int | None
) -> CodesInfo:
    """What the caller wants, or else what the folder says; 0 = unknown."""
    info = read_info(scp)
    if info is None:
        rule = FrameRule(tolerance=_FOREIGN_TOLERANCE)
        info = CodesInfo(num_codebooks=0, codebook_size=0, rule=rule)
    rule = info.rule if tolerance is None else replace(info.rule, tolerance=tolerance)
    return replace(
        info,
        num_codebooks=num_codebooks or info.num_codebooks,
        codebook_size=codebook_size or info.codebook_size,
        rule=rule,
    )


class _Check:
    """One pass over a table of codes."""

    def __init__(
        self, scp: Path, expected: CodesInfo, samples: Mapping[str, int] | None, values: bool
    ) -> None:
        self.scp = scp
        self.expected = expected
        self.samples = samples
        self.values = values
        self.problems = _Problems()
        self.utterances = self.frames = 0

    def run(self) -> None:
        rows = {key: row.value for key, row in read_table(self.scp).first().items()}
        with contextlib.ExitStack() as stack:
            self._streams: dict[str, BinaryIO] = {}
            self._stack = stack
            for key in rows if self.samples is None else self.samples:
                if key not in rows:
                    self.problems.note("missing", key)
                    continue
                self._one(key, rows[key])

    def _one(self, key: str, place: str) -> None:
        try:
            with self._opened(place) as (stream, path, offset):
                entry = _entry(stream, key, offset, path)
                self._shape(key, entry)
                if self.values:
                    self._range(key, _values(stream, entry, path))
        except DataDirError as error:
            self.problems.note("damaged", str(error))
            return
        self.utterances += 1

    @contextlib.contextmanager
    def _opened(self, place: str) -> Iterator[tuple[BinaryIO, Path, int | None]]:
        """The file of a line of the table; archives stay open, files of one utterance do not."""
        name, offset = split_place(place)
        path = Path(name)
        if name in self._streams:
            yield self._streams[name], path, offset
        elif not path.is_file():
            raise _no_file(self.scp, path)
        elif offset is None:
            with path.open("rb") as stream:
                yield stream, path, None
        else:
            self._streams[name] = self._stack.enter_context(path.open("rb"))
            yield self._streams[name], path, offset

    def _shape(self, key: str, entry: Entry) -> None:
        if entry.dtype.kind not in "iu" or len(entry.shape) != 2:
            self.problems.note("type", f"{key} has {entry.dtype} of shape {entry.shape}")
            return
        frames, codebooks = entry.shape
        self.frames += frames
        if not self.expected.num_codebooks:
            self.expected = replace(self.expected, num_codebooks=codebooks, dtype=str(entry.dtype))
        if codebooks != self.expected.num_codebooks:
            wanted = self.expected.num_codebooks
            self.problems.note("codebooks", f"{key} has {codebooks}, {wanted} are expected")
        if self.samples is not None:
            self._length(key, frames, self.samples[key])

    def _length(self, key: str, frames: int, samples: int) -> None:
        rule = self.expected.rule
        wanted = rule.frames(samples)
        if abs(frames - wanted) > rule.tolerance:
            slack = f" +-{rule.tolerance}" if rule.tolerance else ""
            self.problems.note(
                "length", f"{key} has {frames} frames, {samples} samples give {wanted}{slack}"
            )

    def _range(self, key: str, codes_TN: Array) -> None:
        size = self.expected.codebook_size
        if not codes_TN.size or codes_TN.dtype.kind not in "iu":
            return
        least, most = int(codes_TN.min()), int(codes_TN.max())
        if least < 0 or (size and most >= size):
            wrong = least if least < 0 else most
            self.problems.note("range", f"{key} has {wrong}, codes are 0 to {size - 1}")


def split_place(place: str) -> tuple[str, int | None]:
    """File and offset of a line of an ``.scp`` file; None where the file is one array."""
    name, colon, offset = place.rpartition(":")
    if colon and offset.isascii() and offset.isdigit():
        return name, int(offset)
    return place, None


def _no_file(scp: Path, path: Path) -> DataDirError:
    if str(path).strip().startswith("|") or str(path).strip().endswith("|"):
        return DataDirError(f"{scp}: {path} is a command; commands are not run")
    if (scp.parent / path.name).is_file():
        return DataDirError(
            f"{path} does not exist, {scp.parent / path.name} does: the folder was moved. Write "
            f"its table anew: python -m espnet_kd.bin.check_codes {scp.parent} --rewrite_scp true"
        )
    return DataDirError(f"{path} does not exist; restore it, or correct {scp}")


def _entry(stream: BinaryIO, key: str, offset: int | None, path: Path) -> Entry:
    if offset is not None:
        return entry_at(stream, key, offset, path)
    try:
        shape, dtype, end = npy_header(stream.read(1024))
    except ValueError as error:
        raise DataDirError(f"{path} is no NumPy file: {error}") from None
    if path.stat().st_size < end:
        raise DataDirError(f"{path} is cut short")
    return Entry(key, -1, end, shape, dtype)


def _values(stream: BinaryIO, entry: Entry, path: Path) -> Array:
    if entry.offset >= 0:
        return read_array(stream, entry, path)
    try:
        array: Array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise DataDirError(f"{path} is damaged: {error}") from None
    return array
