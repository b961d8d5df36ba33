"""The supervised filter: published order of its tests, and the three rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espnet_kd.errors import WhisperError
from espnet_kd.whisper.normalisers import basic, english, published_normaliser
from espnet_kd.whisper.wer_filter import WERFilter, word_error_percent

FIXED = WERFilter(basic())
UPSTREAM = WERFilter(published_normaliser("ar"), "upstream")
FORK = WERFilter(published_normaliser("ar"), "fork", lambda ids: " ".join(f"w{i}" for i in ids))


@pytest.mark.parametrize(
    ("reference", "label", "value", "note"),
    [
        ("a b c d", "a b x d", 25.0, ""),
        ("a b", "<|startoftranscript|><|en|><|0.00|> A b.<|1.00|><|endoftext|>", 0.0, ""),
        ("a", None, None, "no label"),
        ("a", "<|startoftranscript|><|endoftext|>", None, "empty label"),
        (None, "a", None, "no reference"),
        ("؟", "نعم", None, "empty reference"),
        ("the cat", "THE CAT", None, "label all in upper case"),
        ("21", "$21", 0.0, ""),
        ("نعم", "نعم", 0.0, ""),
        ("a", "...", 100.0, ""),
        ("a", "a b c", 200.0, ""),
    ],
)
def test_fixed_rule(reference, label, value, note):
    score = FIXED.score(reference, label)
    assert score.note == note
    assert score.value == (value if value is None else pytest.approx(value))


def test_strictly_below_the_threshold():
    assert not FIXED.keeps("a b c d e", "a b c d x", 20.0)
    assert FIXED.keeps("a b c d e", "a b c d x", 20.1)
    assert not FIXED.keeps("a", None, 1e9)


def test_upstream_drops_every_caseless_label_without_special_tokens():
    assert not UPSTREAM.keeps("نعم", "نعم", 10)
    assert UPSTREAM.keeps("نعم", "<|startoftranscript|>نعم<|endoftext|>", 10)


def test_upstream_ends_where_the_published_code_divides_by_zero():
    with pytest.raises(WhisperError, match="divides by zero.*`fixed`"):
        UPSTREAM.score("؟", "<|startoftranscript|>نعم<|endoftext|>")


def test_fork_scores_an_empty_reference_and_has_no_upper_case_test():
    assert FORK.score("", "x").value == 100.0
    assert FORK.score("؟", "؟").value == 0.0
    assert FORK.keeps("the cat", "THE CAT", 1)


def test_ids_are_decoded():
    assert FORK.score("w1 w2", [1, 2]).value == 0.0
    assert FORK.score("w1 w2", "[1, 2]").value == 0.0
    with pytest.raises(WhisperError, match="token ids"):
        FIXED.score("a", [1])


def test_label_ids_that_are_no_list_stay_text():
    assert FORK.score("x", "[1, two]").value == 100.0


def test_english_joins_digits_as_published():
    assert WERFilter(english({})).score("one two three", "one two four").value == 100.0


WORDS = st.lists(st.sampled_from("ab"), max_size=5).map(" ".join)


@given(WORDS, WORDS)
def test_wer_is_zero_only_for_equal_words(reference, hypothesis):
    value = word_error_percent(reference, hypothesis)
    assert (value == 0) == (reference.split() == hypothesis.split())
    assert value <= 100 * max(len(reference.split()), len(hypothesis.split()), 1)
