"""Normalisers: published behaviour where asked for, its faults put right by default."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espnet_kd.errors import ConfigError, MissingDependencyError
from espnet_kd.whisper import normalisers
from espnet_kd.whisper.normalisers import (
    arabic,
    basic,
    english,
    language_code,
    make_normaliser,
    no_normaliser,
    published_normaliser,
    spelling_of,
    strip_specials,
)

SPELLING = {"colour": "color"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Mr. Smith can't come.", "mister smith can not come"),
        ("colour", "color"),
        ("one two three", "123"),  # published, and kept
        ("[noise] hello (laughs) <|0.00|> there", "hello there"),
    ],
)
def test_english(text, expected):
    assert english(SPELLING)(text) == expected


def test_english_is_stripped_unless_published():
    assert english({}, strip=False)("so %") == "so "
    assert english({})("so %") == "so"


def test_published_basic_tears_words_at_vowel_signs_and_ours_does_not():
    text = "नमस्ते दुनिया"
    assert published_normaliser("hi")(text).split()[0] == "नमस"
    assert make_normaliser("basic", "hi")(text) == text


def test_optional_marks_are_the_same_as_none():
    vowelled, bare = "مَرْحَبًا بِالعَالَمِ", "مرحبا بالعالم"
    assert published_normaliser("ar")(vowelled) != bare
    assert make_normaliser("basic", "fa")(vowelled) == bare


def test_lone_punctuation_is_empty_unless_published():
    assert published_normaliser("ar")("؟") == " "
    assert basic()("؟") == ""


def test_letters_of_scripts_without_spaces():
    assert make_normaliser("auto", "zh")("你好，世界。") == "你 好 世 界"
    # One letter with its vowel sign and tone mark stays one letter.
    assert len(make_normaliser("auto", "th")("กี่").split()) == 1


def test_diacritics_can_be_folded():
    assert basic(remove_diacritics=True)("Ça, été") == "ca ete"
    assert basic()("Ça, été") == "ça été"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("إسلام أحمد آمن ٱلله", "اسلام احمد امن لله"),
        ("٢٠٢٤ و 15% @user", "2024 و 15% @"),
        ("ى ة ؤ ئ ـ", "ى ة ؤ ئ ـ"),
        ("گچپ", ""),
        ("  a b \n", ""),
    ],
)
def test_arabic(text, expected):
    assert arabic(text) == expected


@given(
    st.text(
        alphabet=st.characters(min_codepoint=0x600, max_codepoint=0x6FF)
        | st.sampled_from(" %@a7\n")
    )
)
def test_arabic_is_its_own_fixed_point(text):
    once = arabic(text)
    assert arabic(once) == once
    assert not set(once) & set("أإآ٠٩a\n")


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        (None, "It's fine!", "it is fine"),
        ("en", "It's fine!", "it is fine"),
        ("fr", "It's fine!", "it s fine"),
        ("ar", "It's نعم!", "نعم"),
    ],
)
def test_auto_goes_by_the_language(language, text, expected):
    assert make_normaliser("auto", language, SPELLING)(text) == expected


def test_published_choice_is_basic_for_english_too():
    assert published_normaliser("en")("It's") == "it s"
    assert published_normaliser(None, SPELLING)("It's").strip() == "it is"


def test_languages_by_code_or_name():
    assert [language_code(name) for name in (None, "ar", "Arabic", "<|hi|>")] == [
        None, "ar", "ar", "hi",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="'klingon' is none"):
        language_code("klingon")


def test_unknown_name():
    with pytest.raises(ConfigError, match="'fancy' is unknown; choose auto"):
        make_normaliser("fancy")


def test_none_only_touches_white_space():
    assert make_normaliser("none")(" A,\t b ") == no_normaliser("A,  b") == "A, b"


def test_special_tokens_are_stripped():
    text = "<|startoftranscript|><|ar|><|0.00|> نعم<|1.50|> a < b |<|endoftext|>"
    assert strip_specials(text) == "نعم a < b |"


def test_spelling_comes_from_the_tokenizer_first():
    class Tokenizer:
        english_spelling_normalizer = SPELLING

    assert spelling_of(Tokenizer()) == SPELLING


def test_missing_spelling_says_what_to_install(monkeypatch):
    monkeypatch.setattr(normalisers, "_packaged_spelling", lambda: None)
    with pytest.raises(MissingDependencyError, match=r"openai-whisper.*normalizer\.json"):
        spelling_of()
    with pytest.raises(MissingDependencyError):
        make_normaliser("auto", "en")


def test_spelling_of_the_package():
    try:
        spelling = spelling_of()
    except MissingDependencyError as error:
        pytest.skip(str(error))
    assert spelling["organise"] == "organize"
