"""Segments, flags, names and prompts against those of the published labelling command, exactly."""

from __future__ import annotations

import json
from typing import Any

import pytest
from golden_cases import golden_root, params

from espnet_kd.whisper.generate import hypothesis_of
from espnet_kd.whisper.packing import Clip, pack, published_id
from espnet_kd.whisper.prompts import next_prompt, prompt_of, published_prompt
from espnet_kd.whisper.specials import SpecialIds

pytestmark = pytest.mark.golden

SYSTEM = "whisper"


def cases(key: str) -> list[tuple[str, tuple[Any, ...]]]:
    """(id, (entry,)) of every entry under ``key`` in the files ``packing*.json``."""
    return [
        (f"{path.stem}/{key}{number}", (entry,))
        for path in sorted((golden_root() / SYSTEM).glob("packing*.json"))
        for number, entry in enumerate(json.loads(path.read_text("utf-8"))[key])
    ]


def clips_of(entry: dict[str, Any]) -> list[Clip]:
    speakers = entry["speakers"] if entry["use_speakers"] else [""] * len(entry["lengths"])
    rows = zip(entry["lengths"], entry["texts"], speakers, strict=True)
    return [
        Clip(str(row), samples, speaker=speaker, text=text)
        for row, (samples, text, speaker) in enumerate(rows)
    ]


@pytest.mark.parametrize("entry", params(SYSTEM, cases("packing")))
def test_published_segments(entry: dict[str, Any]) -> None:
    clips = clips_of(entry)
    segments = list(pack(clips, entry["max_samples"], batch_size=len(clips), long_clips="keep"))
    assert [[int(name) for name in s.source_ids] for s in segments] == entry["segments"]
    assert [s.samples for s in segments] == entry["segment_lengths"]
    assert [s.text for s in segments] == entry["segment_texts"]
    assert [int(s.condition_on_prev) for s in segments] == entry["condition_on_prev"]
    # The first name tells that of the data set, which may hold dashes.
    dataset = entry["ids"][0].removesuffix(published_id("", segments[0], 0)).removesuffix("-")
    assert [published_id(dataset, s, n) for n, s in enumerate(segments)] == entry["ids"]


def specials_of(entry: dict[str, Any]) -> SpecialIds:
    """The real vocabulary's ids: 104 tokens from the end token to startofprev."""
    start, end = entry["after_filter_eot"][0][0], entry["after_filter_eot"][0][-1]
    startofprev = end + 104
    return SpecialIds(
        start=start, end=end, transcribe=startofprev - 2, translate=startofprev - 3,
        startofprev=startofprev, nospeech=startofprev + 1, notimestamps=startofprev + 2,
        timestamp_begin=startofprev + 3, languages={"en": start + 1},
        is_multilingual=entry["multilingual"],
    )  # fmt: skip


@pytest.mark.parametrize("entry", params(SYSTEM, cases("prompts")))
def test_one_end_token_is_left_of_a_padded_prediction(entry: dict[str, Any]) -> None:
    end = specials_of(entry).end
    assert len(entry["predictions"]) == len(entry["after_filter_eot"])
    for row, expected in zip(entry["predictions"], entry["after_filter_eot"], strict=True):
        no_scores = [0.0] * len(row)
        found = hypothesis_of([], row, end, no_scores, no_scores)
        # The published command gives one to a label that was cut, too; here that is a flag.
        assert found.finished == (end in row)
        assert [*found.tokens, end] == expected


@pytest.mark.parametrize("entry", params(SYSTEM, cases("prompts")))
def test_published_prompts(entry: dict[str, Any]) -> None:
    specials = specials_of(entry)
    labels, flags = entry["after_filter_eot"], entry["condition_flags"]
    prompts = [
        published_prompt(before, flag, specials)
        for before, flag in zip(labels, flags[1:], strict=False)
    ]
    assert [None, *prompts] == entry["prompts"]


@pytest.mark.parametrize("entry", params(SYSTEM, cases("prompts")))
def test_right_prompts_are_the_published_ones_without_their_quirks(entry: dict[str, Any]) -> None:
    specials = specials_of(entry)
    labels, flags = entry["after_filter_eot"], entry["condition_flags"]
    steering = {specials.startofprev, specials.notimestamps}
    for before, flag, published in zip(labels, flags[1:], entry["prompts"][1:], strict=False):
        said = prompt_of(before, specials)
        assert next_prompt(before, flag, specials) == (said if flag else None)
        if published is not None and said is not None:
            assert said == [i for i in published if i not in steering]
