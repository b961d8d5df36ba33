"""Codes of others become a folder like those that we extract; all or nothing."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from espnet_kd.data.ark_tables import scan, write_counts, write_scp
from espnet_kd.data.array_ark import ArkWriter, Array, ark_path
from espnet_kd.data.codes import check_codes, speech_samples
from espnet_kd.data.codes_info import CODES, CodesInfo, FrameRule, write_info
from espnet_kd.data.icefall_codes import (
    FIELD,
    CodeFiles,
    Match,
    StoredCodes,
    match_ids,
    read_manifest,
    sample_counts,
)
from espnet_kd.errors import ConfigError, DataDirError
from espnet_kd.utils.files import atomic_folder
from espnet_kd.utils.progress import Progress

_TOGETHER = 1000
"""Utterances that are written at once."""

REPLACED = ("codes.*", "utt2num_frames")
"""What a folder that is imported again may hold."""


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """What is imported and what is expected of it."""

    manifests: list[Path]
    """Manifests of all jobs."""

    out: Path
    """Folder to write."""

    data: str | None = None
    """Kaldi folder whose utterances get the codes; None: the cuts' ids and durations count."""

    storage_dir: Path | None = None
    """Where the HDF5 files lie; None: where the manifests say."""

    field: str = FIELD
    """Custom field of the cuts."""

    codebook_size: int = 256
    """Every code must be below it (published: 256)."""

    tolerance: int = 1
    """Frames by which codes may differ from samples // hop."""

    allow_missing: bool = False
    """Whether utterances of the data may be without codes."""

    sample_rate: int = 16000
    """Of the speech, in Hz."""


@dataclass(frozen=True)
class Imported:
    """What came of an import."""

    info: CodesInfo
    """Sizes."""

    missing: int
    """Utterances of the data without codes."""

    unused: int
    """Cuts that belong to no utterance."""


def import_codes(options: ImportOptions) -> Imported:
    """Read manifests and arrays, check them against the data and write a folder of codes.

    Raises:
        DataDirError: anything that is missing, damaged or does not fit, with counts and examples.
        ConfigError: no manifests, or a codebook_size that does not fit 16 bits.
    """
    _check(options)
    stored = [item for path in options.manifests for item in read_manifest(path, options.field)]
    samples = None if options.data is None else speech_samples(options.data)
    match = match_ids(stored, samples)
    _refuse_missing(match, options)
    counts = sample_counts(match, samples, options.sample_rate)
    info = _expected(match, options)
    with atomic_folder(options.out, replaces=REPLACED) as new:
        _write(new, match, CodeFiles(options.storage_dir), info)
        found = scan(new, CODES)
        frames = sum(entry.shape[0] for _, (_, entry) in found.items())
        info = replace(info, utterances=len(found), frames=frames)
        scp = write_scp(new, CODES, found)
        size = sum(path.stat().st_size for path in {path for path, _ in found.values()})
        write_info(scp, info, {"bytes_on_disk": size})
        check_codes(scp, options.data, samples=counts, values=True)
        write_counts(new, found)
        final = options.out.resolve()
        write_scp(new, CODES, {k: (final / path.name, entry) for k, (path, entry) in found.items()})
    return Imported(info, len(match.missing), match.unused)


def _check(options: ImportOptions) -> None:
    problems = []
    if not options.manifests:
        problems.append("no manifest is given, or the pattern matches none")
    if not 2 <= options.codebook_size <= np.iinfo(np.int16).max + 1:
        problems.append(f"codebook_size is {options.codebook_size}; it must be 2 to 32768")
    if problems:
        raise ConfigError("import", problems)


def _refuse_missing(match: Match, options: ImportOptions) -> None:
    if not match.codes or (match.missing and not options.allow_missing):
        shown = ", ".join(match.missing[:3])
        total = len(match.missing) + len(match.codes)
        raise DataDirError(
            f"{options.data or options.manifests[0]}: {len(match.missing)} of {total} utterance(s) "
            f"have no codes, e.g. {shown or 'none at all'}; {match.unused} cut(s) belong to none. "
            "Give all manifests, or --allow_missing true"
        )


def _expected(match: Match, options: ImportOptions) -> CodesInfo:
    """Sizes by the first cut; the others are checked against it."""
    first = next(iter(match.codes.values()))
    hop = round(first.frame_shift * options.sample_rate)
    return CodesInfo(
        num_codebooks=first.shape[-1],
        codebook_size=options.codebook_size,
        dtype="uint8" if options.codebook_size <= np.iinfo(np.uint8).max + 1 else "int16",
        rule=FrameRule(hop=hop, window=hop, tolerance=options.tolerance),
        sample_rate=options.sample_rate,
        source={"manifests": [str(path) for path in options.manifests], "data": options.data},
    )


def _write(folder: Path, match: Match, files: CodeFiles, info: CodesInfo) -> None:
    """One archive per manifest, in the manifests' order."""
    done = 0
    with Progress("import codes", len(match.codes), "utterances") as progress:
        for rank, items in enumerate(_by_manifest(match).values()):
            with ArkWriter(ark_path(folder, CODES, rank)) as writer:
                for chunk in _chunks(items):
                    arrays = {key: _narrow(files.read(item), item, info) for key, item in chunk}
                    writer.write(arrays)
                    done += len(chunk)
                    progress.reach(done)
    files.close()


def _by_manifest(match: Match) -> dict[Path, list[tuple[str, StoredCodes]]]:
    groups: dict[Path, list[tuple[str, StoredCodes]]] = {}
    for key, item in match.codes.items():
        groups.setdefault(item.manifest, []).append((key, item))
    for items in groups.values():
        items.sort(key=lambda pair: pair[1].file)  # a file is opened once
    return groups


def _chunks(
    items: list[tuple[str, StoredCodes]],
) -> Iterator[list[tuple[str, StoredCodes]]]:
    remaining = iter(items)
    while chunk := list(itertools.islice(remaining, _TOGETHER)):
        yield chunk


def _narrow(codes_TN: Array, stored: StoredCodes, info: CodesInfo) -> Array:
    """The same codes in the type of the folder."""
    least, most = (int(codes_TN.min()), int(codes_TN.max())) if codes_TN.size else (0, 0)
    if least < 0 or most >= info.codebook_size:
        raise DataDirError(
            f"{stored.manifest}: cut {stored.cut} has codes {least} to {most}, allowed are 0 to "
            f"{info.codebook_size - 1}; is codebook_size right?"
        )
    narrowed: Array = codes_TN.astype(info.dtype)
    return narrowed
