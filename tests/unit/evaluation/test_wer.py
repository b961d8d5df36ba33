"""Error rates: hand-counted examples, the empty-reference rule, a brute-force distance."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_kd.errors import DataDirError
from espnet_kd.evaluation.wer import markdown_table, read_text, word_error_rates

REFERENCES = {"u1": "one two three four", "u2": "five six", "u3": "seven", "u4": ""}
HYPOTHESES = {"u1": "one too three", "u2": "five six six", "u3": "seven", "u4": "uh huh"}


def test_counts_by_hand() -> None:
    rates = word_error_rates(REFERENCES, HYPOTHESES)
    assert (rates.sentences, rates.words) == (4, 7)
    assert (rates.hits, rates.substitutions, rates.deletions, rates.insertions) == (5, 1, 1, 3)
    assert rates.error_rate == pytest.approx(100 * 5 / 7)
    assert rates.sentence_error_rate == pytest.approx(75.0)


def test_characters() -> None:
    rates = word_error_rates({"a": "ab  c"}, {"a": "ab d"}, characters=True)
    assert (rates.words, rates.substitutions, rates.hits) == (4, 1, 3)


def test_empty_hypothesis_deletes_everything() -> None:
    rates = word_error_rates({"a": "x y"}, {"a": ""})
    assert (rates.deletions, rates.error_rate, rates.sentence_error_rate) == (2, 100.0, 100.0)


def test_spaces_do_not_make_errors() -> None:
    assert word_error_rates({"a": " x  y "}, {"a": "x y"}).wrong_sentences == 0


@pytest.mark.parametrize(
    ("references", "hypotheses", "message"),
    [
        ({"a": "x"}, {"b": "x"}, r"\['a'\].*\['b'\]"),
        ({"a": ""}, {"a": "x"}, "every reference is empty"),
        ({}, {}, "not the same utterances"),
    ],
)
def test_what_cannot_be_scored(
    references: dict[str, str], hypotheses: dict[str, str], message: str
) -> None:
    with pytest.raises(DataDirError, match=message):
        word_error_rates(references, hypotheses)


def _distance(first: list[str], second: list[str]) -> int:
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, start=1):
        previous, row[0] = row[0], i
        for j, b in enumerate(second, start=1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (a != b))
    return row[-1]


WORDS = st.lists(st.sampled_from("abc"), max_size=6)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4))
def test_errors_are_the_edit_distance(pairs: list[tuple[list[str], list[str]]]) -> None:
    references = {str(i): " ".join(pair[0]) for i, pair in enumerate(pairs)}
    hypotheses = {str(i): " ".join(pair[1]) for i, pair in enumerate(pairs)}
    if not any(references.values()):
        return
    rates = word_error_rates(references, hypotheses)
    errors = rates.substitutions + rates.deletions + rates.insertions
    assert errors == sum(_distance(*pair) for pair in pairs)
    assert rates.words == sum(len(pair[0]) for pair in pairs)


def test_table_has_espnets_columns() -> None:
    table = markdown_table({"decode/test": word_error_rates(REFERENCES, HYPOTHESES)})
    assert "|dataset|Snt|Wrd|Corr|Sub|Del|Ins|Err|S.Err|" in table
    assert "|decode/test|4|7|71.4|14.3|14.3|42.9|71.4|75.0|" in table


def test_text_files(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("u1 a b\nu2\n\nu3  c\n", encoding="utf-8")
    assert read_text(path) == {"u1": "a b", "u2": "", "u3": "c"}
    path.write_text("u1 a\nu1 b\n", encoding="utf-8")
    with pytest.raises(DataDirError, match=r"text:2: utterance u1"):
        read_text(path)
    with pytest.raises(DataDirError, match="gone"):
        read_text(tmp_path / "gone")
