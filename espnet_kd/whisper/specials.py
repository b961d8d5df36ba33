"""Ids of Whisper's special tokens, looked up by name: positions differ between its vocabularies."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from espnet_kd.errors import WhisperError

TASKS = ("transcribe", "translate")

START, END = "<|startoftranscript|>", "<|endoftext|>"
NO_TIMESTAMPS, FIRST_TIMESTAMP = "<|notimestamps|>", "<|0.00|>"
NAMES = {
    "start": START,
    "end": END,
    "transcribe": "<|transcribe|>",
    "translate": "<|translate|>",
    "startofprev": "<|startofprev|>",
    "notimestamps": NO_TIMESTAMPS,
}
NO_SPEECH = ("<|nospeech|>", "<|nocaptions|>")
"""The token's name, and the one that older tokenizers have for it."""

_LANGUAGE = re.compile(r"<\|([a-z]{2,3})\|>")
_ENGLISH_ONLY_END = 50256
"""Id of the end token behind GPT-2's vocabulary, which all English-only models use."""


@dataclass(frozen=True)
class SpecialIds:
    """Ids of the tokens that steer Whisper, and the prefix built of them."""

    start: int
    """``<|startoftranscript|>``, the decoder's first input."""

    end: int
    """``<|endoftext|>``, also the padding."""

    transcribe: int
    """``<|transcribe|>``."""

    translate: int
    """``<|translate|>``."""

    startofprev: int
    """``<|startofprev|>``, which opens a prompt of previous text."""

    nospeech: int
    """``<|nospeech|>``, called ``<|nocaptions|>`` in older tokenizers."""

    notimestamps: int
    """``<|notimestamps|>``, in the prefix of text without timestamps."""

    timestamp_begin: int
    """``<|0.00|>``; this id and all above it are timestamps, 0.02 s apart."""

    languages: dict[str, int]
    """Language code to the id of its token; English-only vocabularies hold them too, unused."""

    is_multilingual: bool
    """Whether prefixes name language and task."""

    @classmethod
    def of(cls, tokenizer: Any, *, is_multilingual: bool | None = None) -> SpecialIds:
        """Look the ids up in a transformers Whisper tokenizer.

        Args:
            tokenizer: ``WhisperTokenizer`` or ``WhisperTokenizerFast``.
            is_multilingual: what the model's generation configuration says; by default it is
                told by the vocabulary.

        Raises:
            WhisperError: the tokenizer lacks one of the tokens (all are listed).
        """
        vocabulary: Mapping[str, int] = tokenizer.get_vocab()
        wanted = {
            **NAMES,
            "nospeech": next((n for n in NO_SPEECH if n in vocabulary), NO_SPEECH[0]),
        }
        missing = sorted(name for name in wanted.values() if name not in vocabulary)
        if missing:
            raise WhisperError(
                f"the tokenizer lacks {', '.join(missing)}; it is not Whisper's. Take the "
                "tokenizer files of the model itself"
            )
        ids = {field: vocabulary[name] for field, name in wanted.items()}
        if is_multilingual is None:
            is_multilingual = ids["end"] != _ENGLISH_ONLY_END
        return cls(
            **ids,
            # Tokenizers of 2022 leave the timestamps out; the models have always had them there.
            timestamp_begin=vocabulary.get(FIRST_TIMESTAMP, ids["notimestamps"] + 1),
            languages=_languages(vocabulary),
            is_multilingual=is_multilingual,
        )

    def language_code(self, language: str) -> str:
        """``hi`` for ``hi``, ``Hindi`` or ``<|hi|>``.

        Raises:
            WhisperError: the model does not know the language.
        """
        from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE

        name = language.strip().lower().removeprefix("<|").removesuffix("|>")
        code: str = TO_LANGUAGE_CODE.get(name, name)
        if code not in self.languages:
            raise WhisperError(
                f"language {language!r} is none of this model's; give a name or one of the codes "
                f"{', '.join(sorted(self.languages))}"
            )
        return code

    def prefix(
        self, language: str | None, task: str = "transcribe", timestamps: bool = False
    ) -> list[int]:
        """Decoder input before the text: start, language, task, and notimestamps where none follow.

        Args:
            language: code or name; None for an English-only model.
            task: ``transcribe`` or ``translate``.
            timestamps: whether timestamps follow.

        Raises:
            WhisperError: an unknown language or task; a language or translation for an English-only
                model; no language for a multilingual one.
        """
        if task not in TASKS:
            raise WhisperError(f"task {task!r} is unknown; choose {' or '.join(TASKS)}")
        ids = [self.start, *self._language_and_task(language, task)]
        return ids if timestamps else [*ids, self.notimestamps]

    def _language_and_task(self, language: str | None, task: str) -> list[int]:
        if not self.is_multilingual:
            if language is not None or task != "transcribe":
                raise WhisperError(
                    f"language {language!r}, task {task!r}: an English-only model only transcribes "
                    "English; leave both out, or take a multilingual model"
                )
            return []
        if language is None:
            raise WhisperError("a multilingual model needs a language, e.g. hi or Hindi")
        return [self.languages[self.language_code(language)], getattr(self, task)]


def _languages(vocabulary: Mapping[str, int]) -> dict[str, int]:
    """Codes and ids, in the order of the vocabulary."""
    found = {
        match[1]: token_id
        for token, token_id in vocabulary.items()
        if (match := _LANGUAGE.fullmatch(token)) is not None
    }
    return dict(sorted(found.items(), key=lambda item: item[1]))
