"""Phone recognition data: LibriSpeech transcripts through a pronunciation lexicon."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from espnet_kd.errors import DataDirError
from s3prl_upstreams.corpus.splits import Utterance, read_split

Item = tuple[str, list[int]]
"""Path of a recording and its label indexes."""

_SHOWN = 10


class LibriPhoneDataset(Dataset[Any]):
    """Recordings and phone labels, longest label first, in S3PRL's calling convention.

    Args:
        split: names of the splits to join, such as ``["train-clean-100"]``.
        tokenizer: S3PRL's word encoder over the phone list; ``encode`` takes phones with spaces.
        bucket_size: utterances per item. Above 1, item ``i`` is the window of neighbours that
            starts at ``i`` (or the last full window), as in SUPERB: one epoch sees most
            utterances ``bucket_size`` times.
        path: folder that holds the splits.
        lexicon: files of lines ``WORD<TAB>phones``; the first pronunciation of a word counts.
        ascending: shortest label first.
        **_: other keys of the configuration's ``corpus`` block.

    Raises:
        DataDirError: a word without pronunciation or a phone outside the list (all of them).
    """

    def __init__(
        self,
        split: Sequence[str],
        tokenizer: Any,
        bucket_size: int,
        path: str,
        lexicon: Sequence[str],
        ascending: bool = False,
        **_: Any,
    ) -> None:
        words = read_lexicon(lexicon)
        utterances = [utterance for name in split for utterance in read_split(path, name)]
        check_words(utterances, words, lexicon)
        check_phones(words, set(getattr(tokenizer, "_vocab2idx", {})), lexicon)
        items = [(str(u.path), tokenizer.encode(phones(u, words))) for u in utterances]
        # A stable sort on sorted ids: the same order on every file system.
        self.items: list[Item] = sorted(items, key=_labels, reverse=not ascending)
        self.bucket_size = bucket_size

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Item | list[Item]:
        if self.bucket_size <= 1:
            return self.items[index]
        start = max(0, min(index, len(self.items) - self.bucket_size))
        return self.items[start : start + self.bucket_size]


def _labels(item: Item) -> int:
    return len(item[1])


def phones(utterance: Utterance, words: dict[str, list[str]]) -> str:
    """Return the phones of an utterance, separated by spaces."""
    return " ".join(phone for word in utterance.text.split() for phone in words[word.upper()])


def read_lexicon(paths: Iterable[str]) -> dict[str, list[str]]:
    """Read pronunciations; the first one of a word counts.

    Raises:
        DataDirError: a file that is not there, or a line without phones.
    """
    words: dict[str, list[str]] = {}
    for path in map(Path, paths):
        if not path.is_file():
            raise DataDirError(f"lexicon {path} is not there; see corpus.lexicon in the config")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            word, *sounds = line.split() or [""]
            if word and not sounds:
                raise DataDirError(f"{path}:{number}: the word {word} has no phones")
            if word:
                words.setdefault(word.upper(), sounds)
    return words


def check_words(
    utterances: Iterable[Utterance], words: dict[str, list[str]], lexicon: Sequence[str]
) -> None:
    """Refuse words that the lexicon lacks, all at once."""
    missing = sorted({w for u in utterances for w in u.text.split() if w.upper() not in words})
    if missing:
        raise DataDirError(
            f"{len(missing)} word(s) have no pronunciation in {', '.join(map(str, lexicon))}: "
            f"{_some(missing)}. Add them, one line WORD<TAB>phones each."
        )


def check_phones(words: dict[str, list[str]], known: set[str], lexicon: Sequence[str]) -> None:
    """Refuse phones outside the phone list, all at once."""
    strange = sorted({phone for sounds in words.values() for phone in sounds} - known)
    if known and strange:
        raise DataDirError(
            f"{len(strange)} phone(s) in {', '.join(map(str, lexicon))} are not in the phone "
            f"list (text.vocab_file): {_some(strange)}"
        )


def _some(values: Sequence[str]) -> str:
    more = f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else ""
    return ", ".join(values[:_SHOWN]) + more
