"""Error rates of transcripts at their three strictnesses."""

from __future__ import annotations

import unicodedata

import pytest

from espnet_kd.errors import DataDirError
from espnet_kd.evaluation.transcripts import orthographic, score_transcripts
from espnet_kd.whisper.normalisers import basic, make_normaliser, no_normaliser

REFERENCES = {"a": "Hello, world!", "b": "good day"}


def test_case_and_punctuation_count_only_before_the_normaliser():
    scores = score_transcripts(REFERENCES, {"a": "hello world", "b": "good day"}, basic())
    assert scores.metrics() == {
        "WER": 0.0, "CER": 0.0, "wer_ortho": 50.0, "cer_ortho": 14.29, "wer_raw": 50.0,
        "cer_raw": 14.29, "empty_references": 0,
    }  # fmt: skip


def test_one_accent_in_two_encodings_is_one_orthography():
    composed = "été"
    scores = score_transcripts(
        {"a": composed}, {"a": unicodedata.normalize("NFD", composed)}, no_normaliser
    )
    assert scores.raw.error_rate == 100.0
    assert scores.ortho.error_rate == 0.0


def test_references_without_a_word_are_left_out_and_counted():
    scores = score_transcripts({"a": "x", "b": "?!"}, {"a": "x", "b": "hm"}, basic())
    assert scores.empty_references == 1
    assert (scores.normalised.words, scores.normalised.error_rate) == (1, 0.0)
    assert scores.raw.words == 2


def test_letters_are_not_separated_by_counted_spaces():
    normalise = make_normaliser("auto", "zh")
    scores = score_transcripts({"a": "你好世界"}, {"a": "你号世界。"}, normalise, letters=True)
    assert scores.normalised.error_rate == scores.normalised_characters.error_rate == 25.0
    assert scores.normalised_characters.words == 4


def test_special_tokens_are_no_words():
    assert orthographic("<|startoftranscript|><|en|> a  b <|endoftext|>") == "a b"


def test_nothing_to_score():
    with pytest.raises(DataDirError, match="no reference has a word"):
        score_transcripts({"a": "?"}, {"a": "x"}, basic())


def test_other_utterances():
    with pytest.raises(DataDirError, match="not the same utterances"):
        score_transcripts(REFERENCES, {"a": "x"}, basic())
