"""Labels that are dropped whatever their scores are."""

from __future__ import annotations

import pytest

from espnet_kd.filtering.checks import Checks
from espnet_kd.filtering.text_shape import phrase_repeats, repeated_share
from tests.unit.filtering.made_up import make_label

LOOP = "thank you " * 9


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        (make_label(), ""),
        (make_label(text="  "), "empty label"),
        (make_label(truncated=True), "truncated"),
        (make_label(language="fr"), "language: fr, not en"),
        (make_label(text=LOOP), "loop: a phrase 9 times"),
        (make_label(text="哈" * 9), "loop: a phrase 9 times"),
        (make_label(flags=["timestamps"]), "timestamps"),
        (make_label(whisper_transcript="<|1.00|> a<|0.50|>"), "timestamps"),
        (make_label(whisper_transcript="<|0.00|> a<|9.00|>"), "timestamps"),
        (make_label(whisper_transcript=[1, 2]), ""),
    ],
)
def test_reasons(label, reason):
    problem = Checks(language="en").problem(label)
    assert problem.startswith(reason)
    assert bool(problem) == bool(reason)


def test_long_loops_are_found_by_their_compression():
    text = " ".join(f"{word} and so on and so forth" for word in "abcdefghijklmnop")
    assert "zlib" in Checks(max_repeats=0).problem(make_label(text=text))


@pytest.mark.parametrize(
    ("checks", "label"),
    [
        (Checks(truncated=False), make_label(truncated=True)),
        (Checks(max_repeats=0, max_compression=0), make_label(text=LOOP)),
        (Checks(timestamps=False), make_label(flags=["timestamps"])),
        (Checks(), make_label(language="fr")),
    ],
)
def test_checks_can_be_switched_off(checks, label):
    assert checks.problem(label) == ""


@pytest.mark.parametrize(
    ("text", "share", "repeats"),
    [
        ("", 0.0, 0),
        ("a b c", 0.0, 1),
        ("a b a b a b", 4 / 6, 3),
        ("A a", 0.5, 2),
        ("x a b a b", 2 / 5, 2),
        ("a b a c", 0.0, 1),
        ("哈哈哈", 2 / 3, 3),
    ],
)
def test_repetition(text, share, repeats):
    assert repeated_share(text) == pytest.approx(share)
    assert phrase_repeats(text) == repeats
