"""Slot filling data: Audio SNIPS, transcripts with a slot tag for every word."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from espnet_kd.errors import DataDirError

Item = tuple[str, list[int]]
"""Path of a recording and its label indexes."""

TRANSCRIPTS = "all.iob.snips.txt"
"""File in the corpus folder: ``ID BOS words EOS<TAB>O tags intent`` per line."""


class SnipsDataset(Dataset[Any]):
    """Recordings and character-and-slot labels, longest label first, as S3PRL calls it.

    Args:
        split: folders of the corpus, such as ``["train"]``.
        tokenizer: S3PRL's character-slot encoder; ``encode`` takes ``words<TAB>tags``.
        bucket_size: utterances per item, neighbours as in LibriPhoneDataset.
        path: corpus folder.
        train_speakers: voices of ``train``; an id starts with its voice. Empty = all there are.
        valid_speakers: voices of ``valid``.
        test_speakers: voices of ``test``.
        ascending: shortest label first.
        **_: other keys of the configuration's ``corpus`` block.

    Raises:
        DataDirError: a folder, the transcripts, or every utterance of a split is missing.
    """

    def __init__(
        self,
        split: Sequence[str],
        tokenizer: Any,
        bucket_size: int,
        path: str,
        train_speakers: Sequence[str] = (),
        valid_speakers: Sequence[str] = (),
        test_speakers: Sequence[str] = (),
        ascending: bool = False,
        **_: Any,
    ) -> None:
        voices = {"train": train_speakers, "valid": valid_speakers, "test": test_speakers}
        texts = read_transcripts(Path(path) / TRANSCRIPTS)
        items: list[Item] = []
        for name in split:
            waves = _waves(Path(path) / name, texts, set(voices.get(name) or ()))
            items += [(str(wave), tokenizer.encode(texts[wave.stem])) for wave in waves]
        self.items = sorted(items, key=lambda item: len(item[1]), reverse=not ascending)
        self.bucket_size = bucket_size

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Item | list[Item]:
        if self.bucket_size <= 1:
            return self.items[index]
        start = max(0, min(index, len(self.items) - self.bucket_size))
        return self.items[start : start + self.bucket_size]


def read_transcripts(path: Path) -> dict[str, str]:
    """Return id -> ``BOS words EOS<TAB>tags``.

    Raises:
        DataDirError: the file is missing or a line has no tags.
    """
    if not path.is_file():
        raise DataDirError(f"{path} is not there; corpus.path must be the Audio SNIPS folder")
    texts: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        name, _, labels = line.strip().partition(" ")
        if not name:
            continue
        if "\t" not in labels:
            raise DataDirError(f"{path}:{number}: {name} has no slot tags after a tab")
        texts[name] = labels
    return texts


def _waves(folder: Path, texts: dict[str, str], voices: set[str]) -> list[Path]:
    waves = sorted(folder.rglob("*.wav"))
    chosen = [w for w in waves if w.stem in texts]
    if voices:
        chosen = [w for w in chosen if w.stem.split("-")[0] in voices]
    if not chosen:
        raise DataDirError(
            f"{folder} has no transcribed recordings of {', '.join(sorted(voices)) or 'any voice'}"
        )
    return chosen
