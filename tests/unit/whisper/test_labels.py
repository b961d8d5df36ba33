"""Token sequences: timestamps, prompts and their cut, what is refused, the published faults."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from espnet_kd.errors import ConfigError, WhisperError
from espnet_kd.whisper.labels import (
    Draw,
    LabelOptions,
    audio_in_range,
    check_prefix,
    encode_label,
    encode_text,
    prepare_batch,
    prepare_label,
    random_draw,
    timestamps_in_order,
)
from espnet_kd.whisper.specials import SpecialIds
from tests.unit.whisper.toy_tokens import ENGLISH, IDS, PLAIN, PREFIX, STAMPED


def script(*results: int) -> Draw:
    tosses = iter(results)
    return lambda _probability: bool(next(tosses))


def prepare(label: Sequence[int], previous: Any, *tosses: int, **options: Any) -> list[int]:
    return prepare_label(label, previous, script(*tosses), IDS, LabelOptions(**options)).token_ids


def test_timestamps_are_kept_or_replaced() -> None:
    assert prepare(STAMPED, None, 1, 0) == STAMPED
    assert prepare(STAMPED, None, 0, 0) == PLAIN
    assert prepare(PLAIN, None, 0) == PLAIN


def test_english_only_labels() -> None:
    label = [101, 110, 7, 120, 100]
    prepared = prepare_label(label, None, script(0, 0), ENGLISH, LabelOptions())
    assert prepared.token_ids == [101, 109, 7, 100]


def test_the_coin_gets_the_probabilities_in_order() -> None:
    seen: list[float] = []

    def draw(probability: float) -> bool:
        seen.append(probability)
        return False

    options = LabelOptions(timestamp_probability=0.5, condition_on_prev_probability=0.3)
    prepare_label(STAMPED, None, draw, IDS, options)
    prepare_label(PLAIN, None, draw, IDS, options)
    assert seen == [0.5, 0.3, 0.3]


def test_prompt_is_the_text_of_the_label_before() -> None:
    assert prepare(PLAIN, STAMPED, 1) == [107, 7, 8, 9, *PLAIN]
    assert prepare(STAMPED, STAMPED, 0, 1) == [107, 7, 8, 9, *PLAIN]
    with_times = [110, 7, 8, 120, 120, 9, 130]
    assert prepare(STAMPED, STAMPED, 1, 1) == [107, *with_times, *STAMPED]


@pytest.mark.parametrize("previous", [[107, 7, 8], [107, 109, 7, 8, 100], [*PREFIX, 109, 7, 8]])
def test_prompts_are_cleaned(previous: list[int]) -> None:
    """No second startofprev, no prefix, no notimestamps, no end."""
    assert prepare(PLAIN, previous, 1) == [107, 7, 8, *PLAIN]


@pytest.mark.parametrize("previous", [None, [], [*PREFIX, 109, 100]])
def test_no_prompt_without_text(previous: list[int] | None) -> None:
    assert prepare(PLAIN, previous, 1) == PLAIN


@pytest.mark.parametrize(
    ("longest", "prompt"),
    [
        (40, list(range(1, 21))),
        (39, list(range(3, 21))),
        (20, list(range(12, 21))),
        (12, [18, 19, 20]),
        (10, [20]),
        (9, []),
        (8, []),
    ],
    ids=["half fits", "half less one", "cut at half", "cut by room", "one", "none", "full"],
)
def test_prompt_is_cut_from_its_front(longest: int, prompt: list[int]) -> None:
    sequence = prepare(PLAIN, list(range(1, 21)), 1, max_label_length=longest)
    assert sequence == ([107, *prompt, *PLAIN] if prompt else PLAIN)
    assert len(sequence) <= longest


@given(
    label=st.lists(st.integers(0, 99), max_size=20),
    previous=st.lists(st.integers(0, 140), max_size=30),
    longest=st.integers(1, 40),
)
def test_a_prompt_never_makes_a_label_too_long(
    label: list[int], previous: list[int], longest: int
) -> None:
    ids = [*PREFIX, 109, *label, 100]
    options = LabelOptions(max_label_length=longest)
    alone = prepare_label(ids, None, script(0), IDS, options)
    prompted = prepare_label(ids, previous, script(1), IDS, options)
    assert prompted.kept == alone.kept == (len(ids) <= longest)
    assert prompted.unprompted == prompted.token_ids[-len(ids) :] == ids
    prompt = prompted.token_ids[: -len(ids)]
    assert prompt == [] or prompt[0] == 107
    assert all(token < 100 for token in prompt[1:])


def test_each_label_prompts_the_next() -> None:
    prepared = prepare_batch([STAMPED, STAMPED], None, script(1, 1, 1, 1), IDS, LabelOptions())
    assert [label.token_ids for label in prepared] == [STAMPED, [107, 7, 8, 9, *STAMPED]]
    prepared = prepare_batch([PLAIN, PLAIN], [None, [1, 2]], script(1, 1), IDS, LabelOptions())
    assert prepared[1].token_ids == [107, 1, 2, *PLAIN]


def test_published_faults_on_request() -> None:
    """A whole earlier label as the prompt, and no prompt left for the longest label."""
    options = LabelOptions(compat=True)
    prepared = prepare_batch([PLAIN, PLAIN], None, script(1, 1), IDS, options)
    assert prepared[1].token_ids == [107, *PLAIN, *PLAIN]
    full = LabelOptions(compat=True, max_label_length=9)
    dropped = prepare_label(PLAIN, [1, 2], script(1), IDS, full)
    assert dropped.token_ids == [107, 1, 2, *PLAIN]
    assert not dropped.kept


def test_timestamps_that_go_back_are_not_learnt() -> None:
    label = [*PREFIX, 110, 7, 120, 115, 8, 130, 100]
    assert not timestamps_in_order(label, IDS)
    assert timestamps_in_order(STAMPED, IDS)
    assert prepare(label, None, 1, 0) == [*PREFIX, 109, 7, 8, 100]
    assert prepare(label, None, 1, 0, compat=True) == label


@pytest.mark.parametrize(
    ("label", "ids", "message"),
    [
        ([7, 8, 100], IDS, "utterance u1: its label has no start token at position 0"),
        ([101, 109, 7, 100], IDS, "no language token"),
        ([101, 103, 110, 7, 100], IDS, "no task token"),
        ([101], IDS, "no language token"),
        ([], ENGLISH, "English-only model needs one"),
        ([101, 103, 105, 109, 7, 100], ENGLISH, "names a language"),
    ],
)
def test_labels_of_another_model(label: list[int], ids: SpecialIds, message: str) -> None:
    with pytest.raises(WhisperError, match=message):
        check_prefix(label, ids, "u1")
    with pytest.raises(WhisperError, match="u1"):
        prepare_batch([label], None, script(0, 0), ids, LabelOptions(), utterances=["u1"])


def test_random_draws_repeat_with_their_seed() -> None:
    draws = [[random_draw(np.random.default_rng(3))(0.2)] for _ in range(2)]
    assert draws[0] == draws[1]
    draw = random_draw(np.random.default_rng(0))
    share = np.mean([draw(0.2) for _ in range(2000)])
    assert 0.15 < share < 0.25
    assert not any(draw(0.0) for _ in range(50))
    assert all(draw(1.0) for _ in range(50))


@pytest.mark.parametrize(
    "options",
    [
        {"timestamp_probability": 1.1},
        {"condition_on_prev_probability": -0.1},
        {"max_label_length": 0},
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        LabelOptions(**options)


def test_text_and_spelled_labels(tokenizer: Any) -> None:
    ids = SpecialIds.of(tokenizer)
    spelled = "<|startoftranscript|><|hi|><|transcribe|><|notimestamps|>नमस्ते<|endoftext|>"
    label = encode_label(spelled, tokenizer)
    assert label == encode_text("नमस्ते", tokenizer, ids, language="hi")
    check_prefix(label, ids, "u1")


@pytest.mark.parametrize(
    ("samples", "ours", "published"),
    [(0, False, False), (1, True, True), (480_000, True, False), (480_001, False, False)],
)
def test_audio_in_range(samples: int, ours: bool, published: bool) -> None:
    assert audio_in_range(samples) is ours
    assert audio_in_range(samples, compat=True) is published
