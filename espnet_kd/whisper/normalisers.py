"""Text normalisers: what counts as the same words when a transcript is scored.

English and Basic are transformers' own classes; what the published use of them gets wrong is put
right by options here, whose published values are named beside them (spec whisper.md 3.2). Arabic
is the evaluation normaliser of UBC's uDistil-Whisper (spec whisper.md 8).
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from espnet_kd.errors import ConfigError, MissingDependencyError
from espnet_kd.whisper.tokenizer import assets

Normaliser = Callable[[str], str]
"""Text to the words that are compared, separated by single spaces."""

Marks = Literal["space", "keep", "drop"]
"""What Basic does with combining marks (vowel signs, diacritics)."""

NAMES = ("auto", "english", "basic", "arabic", "none")
"""What :func:`make_normaliser` knows."""

NO_SPACES = ("ja", "km", "lo", "my", "th", "yue", "zh")
"""Languages written without spaces between words: their letters are compared, one by one."""

OPTIONAL_MARKS = ("ar", "fa", "he", "ps", "sd", "ur", "yi")
"""Languages whose vowel signs are mostly left out: text with them and without is the same."""

_SPECIAL = re.compile(r"<\|[^<>|]*\|>")
_ARABIC_DELETED = re.compile(r"[^0-9\u0621-\u064A\u0660-\u0669%@\s]")
_ARABIC_FOLDED = str.maketrans(
    "\u0660\u0661\u0662\u0663\u0664\u0665\u0666\u0667\u0668\u0669\u0623\u0625\u0622",
    "0123456789\u0627\u0627\u0627",
)


def strip_specials(text: str) -> str:
    """Remove ``<|...|>`` tokens (language, task, timestamps) and surrounding blanks."""
    return _SPECIAL.sub("", text).strip()


def english(spelling: Mapping[str, str], *, strip: bool = True) -> Normaliser:
    """Whisper's English normaliser: contractions, numbers, spelling, punctuation.

    As published, neighbouring spelt digits become one number ("one two" is "12").

    Args:
        spelling: British to American spelling, see :func:`spelling_of`.
        strip: remove blanks at the ends (published: False).
    """
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

    return _stripped(EnglishTextNormalizer(dict(spelling)), strip)


def basic(
    *,
    remove_diacritics: bool = False,
    split_letters: bool = False,
    marks: Marks = "keep",
    strip: bool = True,
) -> Normaliser:
    """Whisper's normaliser for all other languages: lower case, no brackets, no punctuation.

    Args:
        remove_diacritics: fold accents and hamza (compatibility decomposition); then ``marks`` has
            no say.
        split_letters: a space between letters, so that word errors are letter errors.
        marks: ``space`` (published) tears words apart at every vowel sign of Indic scripts and at
            every Arabic or Hebrew diacritic; ``keep`` compares them, ``drop`` ignores them.
        strip: remove blanks at the ends, so that lone punctuation is empty (published: False).
    """
    from transformers.models.whisper.english_normalizer import BasicTextNormalizer

    normaliser = BasicTextNormalizer(remove_diacritics, split_letters)
    if not remove_diacritics and marks != "space":
        normaliser.clean = _without_marks if marks == "drop" else _with_marks
    return _stripped(normaliser, strip)


def arabic(text: str) -> str:
    """UBC's evaluation normaliser: Arabic letters and digits only, alef with hamza as bare alef.

    Latin letters, punctuation, diacritics and Persian letters disappear; ta marbuta, alef maqsura
    and tatweel stay.
    """
    return " ".join(_ARABIC_DELETED.sub("", text).translate(_ARABIC_FOLDED).split())


def no_normaliser(text: str) -> str:
    """Only runs of white space become one space."""
    return " ".join(text.split())


def language_code(language: str | None) -> str | None:
    """``ar`` for ``ar``, ``Arabic`` or ``<|ar|>``; None stays.

    Raises:
        ConfigError: no language of Whisper.
    """
    from transformers.models.whisper.tokenization_whisper import LANGUAGES, TO_LANGUAGE_CODE

    if language is None:
        return None
    name = language.strip().lower().removeprefix("<|").removesuffix("|>")
    code: str = TO_LANGUAGE_CODE.get(name, name)
    if code not in LANGUAGES:
        raise ConfigError(
            "language", [f"{language!r} is none of Whisper's; give a code such as ar"]
        )
    return code


def make_normaliser(
    name: str, language: str | None = None, spelling: Mapping[str, str] | None = None
) -> Normaliser:
    """The normaliser of a name, set up for a language.

    Args:
        name: one of :data:`NAMES`; ``auto`` is English for English or no language, Arabic for
            Arabic, else Basic.
        language: code such as ``hi``; decides how Basic treats marks and words.
        spelling: for English; by default that of the openai-whisper package.

    Raises:
        ConfigError: no such name.
        MissingDependencyError: English without a spelling and without openai-whisper.
    """
    if name == "auto":
        name = {None: "english", "en": "english", "ar": "arabic"}.get(language, "basic")
    if name == "english":
        return english(spelling_of() if spelling is None else spelling)
    if name == "basic":
        return basic(
            split_letters=language in NO_SPACES,
            marks="drop" if language in OPTIONAL_MARKS else "keep",
        )
    if name not in NAMES:
        raise ConfigError("normaliser", [f"{name!r} is unknown; choose {', '.join(NAMES)}"])
    return arabic if name == "arabic" else no_normaliser


def published_normaliser(
    language: str | None, spelling: Mapping[str, str] | None = None
) -> Normaliser:
    """What Distil-Whisper's filter uses: English without a language, Basic with any, even ``en``.

    To reproduce an old run; it has the faults that :func:`basic` describes.
    """
    if language is not None:
        return basic(marks="space", strip=False)
    return english(spelling_of() if spelling is None else spelling, strip=False)


def spelling_of(tokenizer: Any = None) -> dict[str, str]:
    """British to American spelling, from a Whisper tokenizer or the openai-whisper package.

    Raises:
        MissingDependencyError: neither has it.
    """
    found = getattr(tokenizer, "english_spelling_normalizer", None)
    if found:
        return dict(found)
    file = _packaged_spelling()
    if file is None:
        raise MissingDependencyError(
            "the English normaliser needs Whisper's table of spellings: install it with "
            "`uv pip install openai-whisper` (extra `whisper`), or add the model's own "
            "normalizer.json to its folder"
        )
    return {str(key): str(value) for key, value in json.loads(file.read_text("utf-8")).items()}


def _packaged_spelling() -> Path | None:
    try:
        file = assets().parent / "normalizers" / "english.json"
    except MissingDependencyError:
        return None
    return file if file.is_file() else None


def _stripped(normaliser: Normaliser, strip: bool) -> Normaliser:
    return (lambda text: normaliser(text).strip()) if strip else normaliser


def _with_marks(text: str) -> str:
    return _spaced(unicodedata.normalize("NFKC", text), "SP")


def _without_marks(text: str) -> str:
    composed = unicodedata.normalize("NFKC", text)
    return _spaced("".join(c for c in composed if unicodedata.category(c)[0] != "M"), "SP")


def _spaced(text: str, categories: str) -> str:
    """Characters of these general categories become spaces."""
    return "".join(" " if unicodedata.category(c)[0] in categories else c for c in text)
