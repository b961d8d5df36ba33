"""The archives of a folder become tables that ESPnet reads: ``codes.scp`` and frame counts."""

from __future__ import annotations

from pathlib import Path

from espnet_kd.data.array_ark import Entry, ark_paths, entries
from espnet_kd.data.codes_info import CODES, read_info
from espnet_kd.data.tables import write_table
from espnet_kd.errors import DataDirError


def scan(folder: Path, kind: str) -> dict[str, tuple[Path, Entry]]:
    """Utterance -> archive and record, for all archives of one kind; of repeated ones the first.

    Raises:
        DataDirError: an archive is damaged, or there is none.
    """
    found: dict[str, tuple[Path, Entry]] = {}
    for path in ark_paths(folder, kind):
        for entry in entries(path):
            found.setdefault(entry.key, (path, entry))
    if not found:
        raise DataDirError(f"{folder} holds no {kind}; extract them first")
    return found


def write_counts(folder: Path, found: dict[str, tuple[Path, Entry]]) -> None:
    """Write ``utt2num_frames``."""
    counts = {key: str(entry.shape[0]) for key, (_, entry) in found.items()}
    write_table(folder / "utt2num_frames", counts)


def write_scp(folder: Path, kind: str, found: dict[str, tuple[Path, Entry]]) -> Path:
    """Write ``codes.scp`` with absolute paths, so that it can be read from any folder."""
    scp = folder / f"{kind}.scp"
    places = {key: f"{path.resolve()}:{entry.offset}" for key, (path, entry) in found.items()}
    write_table(scp, places)
    return scp


def rewrite_scp(folder: Path) -> Path:
    """Write the table of codes that were moved anew; the archives stay as they are.

    Raises:
        DataDirError: an archive is damaged, or some have not come along.
    """
    found = scan(folder, CODES)
    info = read_info(folder / f"{CODES}.scp")
    if info is not None and len(found) < info.utterances:
        raise DataDirError(
            f"{folder}: its archives hold {len(found)} utterances, {CODES}.json says "
            f"{info.utterances}; copy all {CODES}.*.ark here"
        )
    return write_scp(folder, CODES, found)
