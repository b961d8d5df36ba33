"""VoxCeleb1's layout for speaker identification: ``dev/wav/idNNNNN/VIDEO/NNNNN.wav`` and a list.

S3PRL takes the label from the folder's name (``id10001`` is class 0) and the split from a list
of lines ``SPLIT PATH`` with split 1 = training, 2 = development, 3 = test.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from espnet_kd.data.recording import Recording, write_audio
from espnet_kd.errors import DataDirError
from espnet_kd.utils.files import write_text

META = "iden_split.txt"
"""Name of the list inside the corpus folder."""

_SPLITS = {"train": 1, "dev": 2, "test": 3}
_MAX_SPEAKERS = 1251


def speaker_ids(speakers: Iterable[str]) -> dict[str, str]:
    """Name speakers ``id10001``, ``id10002``, ... in the order of their sorted names."""
    names = sorted(set(speakers))
    if len(names) > _MAX_SPEAKERS:
        raise DataDirError(f"{len(names)} speakers; S3PRL's task has {_MAX_SPEAKERS} classes")
    return {name: f"id{10001 + number}" for number, name in enumerate(names)}


def write_voxceleb(
    root: str | Path, splits: Mapping[str, Iterable[Recording]], ids: Mapping[str, str]
) -> list[str]:
    """Write recordings of ``train``, ``dev`` and ``test``.

    Args:
        root: corpus folder; ``dev/wav`` (also for training) and ``test/wav`` are made in it.
        splits: split name -> recordings; the recording's chapter becomes the video.
        ids: speaker -> ``idNNNNN``.

    Returns:
        The lines of the split list; write them with :func:`write_meta`.
    """
    lines = []
    for split, recordings in splits.items():
        for recording in recordings:
            name = f"{ids[recording.speaker]}/{recording.chapter}-{split}/{recording.index:05d}.wav"
            part = "test" if split == "test" else "dev"
            write_audio(Path(root) / part / "wav" / name, recording.wave_S)
            lines.append(f"{_SPLITS[split]} {name}")
    return lines


def write_meta(root: str | Path, lines: Iterable[str]) -> None:
    """Write the split list."""
    write_text(Path(root) / META, "".join(f"{line}\n" for line in sorted(lines)))
