"""From pseudo-labels to token sequences to train on: timestamps, prompts, lengths.

Source: Distil-Whisper (arXiv 2311.00430); spec whisper.md 3.3 to 3.5. A sequence is::

    [startofprev, previous text ...,] start, language, task, (notimestamps,) text ..., end

Timestamps are kept and prompts are used with a probability each, so that the student learns all
four forms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from espnet_kd.errors import ConfigError, WhisperError
from espnet_kd.whisper.specials import SpecialIds

Draw = Callable[[float], bool]
"""A coin that shows True with the probability given."""

SAMPLE_RATE = 16000


@dataclass(frozen=True, kw_only=True)
class LabelOptions:
    """How token sequences are made; names and defaults follow the original command line."""

    timestamp_probability: float = 0.2
    """Share of labels with timestamps that keep them (the paper and the Flax training: 0.5)."""

    condition_on_prev_probability: float = 0.2
    """Share of labels with a previous text that get it as a prompt."""

    max_label_length: int = 448
    """Longest sequence in tokens, prompt included; longer ones are dropped."""

    compat: bool = False
    """Repeat the published preparation, faults included: prompts are not cleaned, so that they can
    hold a second startofprev, notimestamps or a whole earlier label; a label of exactly the longest
    length is dropped when it gets a prompt; a lost prefix goes unnoticed."""

    def __post_init__(self) -> None:
        problems = [
            f"{name} is {getattr(self, name)}; it must lie between 0 and 1"
            for name in ("timestamp_probability", "condition_on_prev_probability")
            if not 0 <= getattr(self, name) <= 1
        ]
        if self.max_label_length < 1:
            problems.append(f"max_label_length is {self.max_label_length}; it must be positive")
        if problems:
            raise ConfigError("labels", problems)


@dataclass(frozen=True)
class PreparedLabel:
    """A token sequence and whether it can be trained on."""

    token_ids: list[int]
    """Prompt, prefix, text and end."""

    unprompted: list[int]
    """The same without the prompt."""

    kept: bool
    """False: longer than ``max_label_length``, or empty."""


def random_draw(generator: np.random.Generator) -> Draw:
    """A coin of a numpy generator; one number is drawn per toss, whatever the probability."""
    return lambda probability: bool(generator.random() < probability)


def encode_label(text: str, tokenizer: Any) -> list[int]:
    """Token ids of a pseudo-label that spells out its special tokens (``whisper_transcript``)."""
    ids: list[int] = tokenizer(text, add_special_tokens=False).input_ids
    return ids


def encode_text(
    text: str,
    tokenizer: Any,
    specials: SpecialIds,
    *,
    language: str | None,
    task: str = "transcribe",
) -> list[int]:
    """Token ids of a transcript, with prefix (no timestamps) and end.

    Raises:
        WhisperError: see :meth:`SpecialIds.prefix`.
    """
    prefix = specials.prefix(language, task)
    return [*prefix, *encode_label(text, tokenizer), specials.end]


def prepare_label(
    token_ids: Sequence[int],
    previous: Sequence[int] | None,
    draw: Draw,
    specials: SpecialIds,
    options: LabelOptions,
    *,
    utterance: str = "",
) -> PreparedLabel:
    """Make the sequence of one utterance.

    The coin is tossed for the timestamps first, and only where there are any, then for the prompt.

    Args:
        token_ids: the label with prefix and end.
        previous: label of the utterance before it, or a prompt; None where there is none.
        draw: the coin.
        specials: ids of the special tokens.
        options: probabilities and the longest sequence.
        utterance: its id, for messages.

    Raises:
        WhisperError: the label lacks its prefix, or has one for another kind of model.
    """
    ids = list(token_ids)
    if not options.compat:
        check_prefix(ids, specials, utterance)
    stamped = any(token >= specials.timestamp_begin for token in ids)
    with_timestamps = stamped and draw(options.timestamp_probability)
    if stamped and not options.compat:
        with_timestamps &= timestamps_in_order(ids, specials)
    if stamped and not with_timestamps:
        ids = without_timestamps(ids, specials)
    unprompted, prompt = ids, list(previous or ())
    if draw(options.condition_on_prev_probability) and previous is not None:
        keep_times = with_timestamps if not options.compat else (with_timestamps or not stamped)
        ids = _with_prompt(unprompted, prompt, keep_times, specials, options)
    kept = 0 < len(ids) <= options.max_label_length
    return PreparedLabel(ids, unprompted, kept)


def prepare_batch(
    labels: Sequence[Sequence[int]],
    previous: Sequence[Sequence[int] | None] | None,
    draw: Draw,
    specials: SpecialIds,
    options: LabelOptions,
    *,
    utterances: Sequence[str] = (),
) -> list[PreparedLabel]:
    """:func:`prepare_label` for utterances in their order.

    Args:
        labels: with prefix and end.
        previous: prompts, None where an utterance has none; None altogether: each label serves as
            the prompt of the next one, without its timestamps.
        draw: the coin.
        specials: ids of the special tokens.
        options: probabilities and the longest sequence.
        utterances: ids, for messages.

    Raises:
        WhisperError: see :func:`prepare_label`.
    """
    prepared: list[PreparedLabel] = []
    for index, label in enumerate(labels):
        if previous is not None:
            before = previous[index]
        elif prepared:
            before = prepared[-1].unprompted
            before = before if options.compat else [t for t in before if t < specials.end]
        else:
            before = None
        utterance = utterances[index] if utterances else f"number {index}"
        prepared.append(prepare_label(label, before, draw, specials, options, utterance=utterance))
    return prepared


def check_prefix(ids: Sequence[int], specials: SpecialIds, utterance: str) -> None:
    """Refuse a label that does not begin as this model's labels do.

    Raises:
        WhisperError: no start, language or task where they belong.
    """
    languages = set(specials.languages.values())
    expected = [("start", {specials.start})]
    if specials.is_multilingual:
        tasks = {specials.transcribe, specials.translate}
        expected += [("language", languages), ("task", tasks)]
    for place, (name, allowed) in enumerate(expected):
        if len(ids) <= place or ids[place] not in allowed:
            kind = "multilingual" if specials.is_multilingual else "English-only"
            raise WhisperError(
                f"utterance {utterance}: its label has no {name} token at position {place}, where "
                f"this {kind} model needs one; it was made by another kind of model, or by a "
                "version of transformers (4.48 or newer) that leaves the prefix out: label again"
            )
    if not specials.is_multilingual and len(ids) > 1 and ids[1] in languages:
        raise WhisperError(
            f"utterance {utterance}: its label names a language, but the model is English-only; "
            "take labels of an English-only teacher, or a multilingual student"
        )


def timestamps_in_order(ids: Sequence[int], specials: SpecialIds) -> bool:
    """Whether timestamps never go back; those of a hallucinating teacher do."""
    times = [token for token in ids if token >= specials.timestamp_begin]
    return all(earlier <= later for earlier, later in pairwise(times))


def without_timestamps(ids: Sequence[int], specials: SpecialIds) -> list[int]:
    """The label with notimestamps behind its prefix instead of timestamps."""
    text = [token for token in ids if token < specials.notimestamps]
    text.insert(3 if specials.is_multilingual else 1, specials.notimestamps)
    return text


def previous_text(prompt: Sequence[int], specials: SpecialIds, *, timestamps: bool) -> list[int]:
    """What a prompt may hold: the text of an earlier label, and its timestamps where asked for."""
    first_time = specials.timestamp_begin if timestamps else float("inf")
    return [token for token in prompt if token < specials.end or token >= first_time]


def audio_in_range(
    samples: int, *, min_seconds: float = 0.0, max_seconds: float = 30.0, compat: bool = False
) -> bool:
    """Whether a recording is long and short enough to train on.

    Args:
        samples: at 16 kHz.
        min_seconds: it must be longer.
        max_seconds: it must not be longer.
        compat: refuse exactly ``max_seconds`` too, as published, although utterances packed to 30 s
            have that length.
    """
    longest = max_seconds * SAMPLE_RATE
    if not min_seconds * SAMPLE_RATE < samples:
        return False
    return samples < longest if compat else samples <= longest


def _with_prompt(
    label: list[int],
    prompt: list[int],
    timestamps: bool,
    specials: SpecialIds,
    options: LabelOptions,
) -> list[int]:
    """The label behind as much of the end of the prompt as fits."""
    if options.compat:
        if not timestamps:
            prompt = [token for token in prompt if token < specials.notimestamps]
    else:
        prompt = previous_text(prompt, specials, timestamps=timestamps)
    half = options.max_label_length // 2
    if len(prompt) > half:
        prompt = prompt[-half + 1 :]
    room = options.max_label_length - 1 - len(label)
    if options.compat:
        # For room 0 this slice is the whole prompt.
        prompt = prompt if len(prompt) <= room else prompt[-room:]
        return [specials.startofprev, *prompt, *label]
    prompt = prompt[-room:] if room > 0 else []
    return [specials.startofprev, *prompt, *label] if prompt else label
