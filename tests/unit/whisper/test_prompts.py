"""Prompts are text and times of the label before, and nothing that steers."""

from __future__ import annotations

import pytest

from espnet_kd.whisper.label_text import plain_text, transcript
from espnet_kd.whisper.prompts import next_prompt, prompt_of, published_prompt
from espnet_kd.whisper.specials import SpecialIds


@pytest.fixture(scope="module")
def specials(tokenizer) -> SpecialIds:
    """Of the multilingual tokenizer."""
    return SpecialIds.of(tokenizer)


def label(specials, *ids, timestamps=False):
    return [*specials.prefix("hi", "transcribe", timestamps), *ids, specials.end]


def test_a_prompt_holds_what_is_said(specials):
    assert prompt_of(label(specials, 11, 12), specials) == [11, 12]
    begin = specials.timestamp_begin
    stamped = label(specials, begin, 11, begin + 50, timestamps=True)
    assert prompt_of(stamped, specials) == [begin, 11, begin + 50]


def test_nothing_said_is_no_prompt(specials):
    assert prompt_of(label(specials), specials) is None
    assert prompt_of(label(specials, specials.timestamp_begin, timestamps=True), specials) is None


def test_only_what_goes_on_has_a_prompt(specials):
    before = label(specials, 11)
    assert next_prompt(before, 1, specials) == [11]
    assert next_prompt(before, 0, specials) is None


def test_published_prompts_keep_their_quirks(specials):
    before = label(specials, 11)
    assert published_prompt(before, 0, specials) == [
        specials.startofprev,
        specials.notimestamps,
        11,
    ]
    assert published_prompt(before, False, specials) is None


def test_texts_of_a_label(tokenizer, specials):
    words = tokenizer.encode(" नमस्ते दुनिया", add_special_tokens=False)
    begin = specials.timestamp_begin
    ids = label(specials, begin, *words, begin + 125, timestamps=True)
    expected = "<|startoftranscript|><|hi|><|transcribe|><|0.00|> नमस्ते दुनिया<|2.50|><|endoftext|>"
    assert transcript(ids, tokenizer, specials) == expected
    assert plain_text(ids, tokenizer, specials) == "नमस्ते दुनिया"
    assert transcript(label(specials, *words), tokenizer, specials) == (
        "<|startoftranscript|><|hi|><|transcribe|><|notimestamps|> नमस्ते दुनिया<|endoftext|>"
    )


def test_the_published_form_reads_back_as_the_ids(tokenizer, specials):
    words = tokenizer.encode(" It's 5 o'clock , isn't it ?", add_special_tokens=False)
    ids = label(specials, *words)
    text = transcript(ids, tokenizer, specials)
    assert tokenizer.encode(text, add_special_tokens=False) == ids
