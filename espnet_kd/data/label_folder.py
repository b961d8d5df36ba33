"""Folders of pseudo-labels as wholes: ``labels.jsonl`` beside the tables that find its audio."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet_kd.data.kaldi_dir import KaldiDir, read_kaldi_dir, write_kaldi_dir
from espnet_kd.data.pseudo_labels import LABELS, PseudoLabel, read_labels
from espnet_kd.data.segments import Span
from espnet_kd.errors import DataDirError
from espnet_kd.utils.files import atomic_folder

REPLACED = (LABELS, "wav.scp", "segments", "text", "utt2spk", "spk2utt", "utt2num_samples")
"""What a folder that is written again may hold."""


@dataclass
class LabelFolder:
    """Labels in the order of the file, and where their audio is."""

    labels: list[PseudoLabel]
    """All labels."""

    data: KaldiDir | None
    """The folder's tables; None without wav.scp (labels of text alone)."""


def read_label_folder(folder: str | Path) -> LabelFolder:
    """Read labels and tables; no audio is opened.

    Raises:
        DataDirError: no labels, a repeated id, an id without audio, or tables with problems.
    """
    source = Path(folder)
    labels = list(read_labels(source))
    seen: set[str] = set()
    for label in labels:
        if label.id in seen:
            raise DataDirError(f"{source / LABELS}: utterance {label.id} is there twice")
        seen.add(label.id)
    if not labels:
        raise DataDirError(f"{source / LABELS} holds no label")
    if not (source / "wav.scp").is_file():
        return LabelFolder(labels, None)
    data = read_kaldi_dir(source, need_files=False, segments=True)
    silent = sorted(seen - (data.segments or data.wav_scp).keys())
    if silent:
        raise DataDirError(
            f"{source}: {len(silent)} label(s) without audio in wav.scp or segments, e.g. "
            f"{', '.join(silent[:3])}; the files are not of one run"
        )
    return LabelFolder(labels, data)


def write_label_folder(
    folder: str | Path, labels: Sequence[PseudoLabel], data: KaldiDir | None
) -> None:
    """Write these labels and their rows of the tables; all or nothing.

    Args:
        folder: an earlier folder of labels there is replaced.
        labels: in the order to write; none leaves an empty labels.jsonl.
        data: tables that hold at least these utterances.
    """
    with atomic_folder(folder, replaces=REPLACED) as new:
        if data is not None and labels:
            write_kaldi_dir(new, data.subset(label.id for label in labels))
        with (new / LABELS).open("w", encoding="utf-8") as stream:
            stream.writelines(label.line() for label in labels)


def join_folders(folders: Sequence[LabelFolder], names: Sequence[str]) -> LabelFolder:
    """Put folders behind each other.

    Recordings get the folder's number before their name where ids could clash.

    Args:
        folders: what to join.
        names: of the folders, for messages.

    Raises:
        DataDirError: an utterance is in two of them, or some have audio and some do not.
    """
    owner: dict[str, str] = {}
    for folder, name in zip(folders, names, strict=True):
        for label in folder.labels:
            if label.id in owner:
                raise DataDirError(
                    f"utterance {label.id} is in {owner[label.id]} and in {name}; give its "
                    "utterances different ids, or treat the folders one by one"
                )
            owner[label.id] = name
    labels = [label for folder in folders for label in folder.labels]
    found = [folder.data for folder in folders if folder.data is not None]
    if not found or len(folders) == 1:
        return LabelFolder(labels, found[0] if found else None)
    if len(found) < len(folders):
        raise DataDirError(f"of {', '.join(names)} some have wav.scp and some do not")
    return LabelFolder(labels, _join([_in_segments(folder, i) for i, folder in enumerate(folders)])
                       if any(data.segments for data in found) else _join(found))  # fmt: skip


def _in_segments(folder: LabelFolder, number: int) -> KaldiDir:
    """The tables with every utterance as a stretch of a recording that has the folder's number."""
    data = folder.data
    assert data is not None
    seconds = {label.id: label.duration for label in folder.labels}
    spans = data.segments or {key: Span(key, 0.0, seconds[key]) for key in seconds}
    return dataclasses.replace(
        data,
        wav_scp={f"{number}-{key}": path for key, path in data.wav_scp.items()},
        segments={
            key: dataclasses.replace(span, recording=f"{number}-{span.recording}")
            for key, span in spans.items()
        },
    )


def _join(parts: Sequence[KaldiDir]) -> KaldiDir:
    joined = KaldiDir({}, {})
    for part in parts:
        joined.wav_scp |= part.wav_scp
        joined.utt2spk |= part.utt2spk
        joined.text |= part.text
        joined.num_samples |= part.num_samples
        joined.segments |= part.segments
    # A table that only some folders have would be incomplete.
    if len(joined.text) < len(joined):
        joined.text = {}
    if len(joined.num_samples) < len(joined):
        joined.num_samples = {}
    return joined
