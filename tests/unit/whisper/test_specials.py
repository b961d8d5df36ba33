"""Special tokens by name, prefixes, mix-ups of kinds and languages."""

from __future__ import annotations

from typing import Any

import pytest

from espnet_kd.errors import WhisperError
from espnet_kd.whisper import SpecialIds

OLD = {"<|nospeech|>": "<|nocaptions|>"}


class Vocabulary:
    """As much of a tokenizer as special tokens need."""

    def __init__(self, tokens: dict[str, int]) -> None:
        self.tokens = tokens

    def get_vocab(self) -> dict[str, int]:
        return self.tokens


def vocabulary(first: int = 50257, **renamed: str) -> dict[str, int]:
    names = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|hi|>", "<|haw|>",
             "<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>",
             "<|nospeech|>", "<|notimestamps|>", "<|0.00|>"]  # fmt: skip
    return {renamed.get(name, name): first + i for i, name in enumerate(names)}


def ids(first: int = 50257) -> SpecialIds:
    return SpecialIds.of(Vocabulary(vocabulary(first)))


def test_names_decide_not_positions() -> None:
    shuffled = dict(reversed(vocabulary().items()))
    assert SpecialIds.of(Vocabulary(shuffled)) == ids()
    assert ids().languages == {"en": 50259, "hi": 50260, "haw": 50261}
    assert list(SpecialIds.of(Vocabulary(shuffled)).languages) == ["en", "hi", "haw"]


def test_older_tokenizers() -> None:
    """No speech is called nocaptions, and the timestamps are not in the vocabulary."""
    tokens = vocabulary(**OLD)
    tokens.pop("<|0.00|>")
    assert SpecialIds.of(Vocabulary(tokens)) == ids()


def test_the_real_tokenizers(tokenizer: Any, english_tokenizer: Any) -> None:
    found = SpecialIds.of(tokenizer)
    assert (found.start, found.end, found.timestamp_begin) == (50258, 50257, 50364)
    assert found.is_multilingual
    assert len(found.languages) == 99
    found = SpecialIds.of(english_tokenizer)
    assert (found.start, found.end, found.timestamp_begin) == (50257, 50256, 50363)
    assert not found.is_multilingual


def test_what_the_model_says_wins() -> None:
    found = SpecialIds.of(Vocabulary(vocabulary()), is_multilingual=False)
    assert not found.is_multilingual


def test_missing_tokens_are_all_listed() -> None:
    with pytest.raises(WhisperError, match=r"<\|endoftext\|>, <\|nospeech\|>, .*not Whisper's"):
        SpecialIds.of(Vocabulary({"<|transcribe|>": 3}))


@pytest.mark.parametrize("language", ["hi", "Hindi", "<|hi|>", " HI "])
def test_prefix(language: str) -> None:
    found = ids()
    assert found.prefix(language) == [50258, 50260, 50263, 50267]
    assert found.prefix(language, "translate", timestamps=True) == [50258, 50260, 50262]


def test_prefix_of_an_english_only_model() -> None:
    found = ids(50256)
    assert found.prefix(None) == [50257, 50266]
    assert found.prefix(None, timestamps=True) == [50257]


@pytest.mark.parametrize(
    ("first", "arguments", "message"),
    [
        (50257, ("klingon",), "klingon.* none of this model's.*en, haw, hi"),
        (50257, ("de",), "'de' is none"),
        (50257, (None,), "needs a language"),
        (50257, ("hi", "summarise"), "choose transcribe or translate"),
        (50256, ("en",), "English-only model only transcribes"),
        (50256, (None, "translate"), "English-only model only transcribes"),
    ],
)
def test_what_is_refused(first: int, arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(WhisperError, match=message):
        ids(first).prefix(*arguments)
