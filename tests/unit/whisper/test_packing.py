"""Utterances become segments: nothing is lost, nothing is cut, speakers are not mixed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from espnet_kd.errors import WhisperError
from espnet_kd.whisper.packing import Clip, one_by_one, pack, published_id
from espnet_kd.whisper.splitting import quiet_cuts, split_clip

MOST = 300


def clips(*lengths: int, speakers: str = "", texts: bool = True) -> list[Clip]:
    names = speakers or "a" * len(lengths)
    return [
        Clip(f"u{n}", samples, speaker=name, text=f"t{n}" if texts else None)
        for n, (samples, name) in enumerate(zip(lengths, names, strict=True))
    ]


def sources(segments) -> list[list[str]]:
    return [segment.source_ids for segment in segments]


def test_utterances_are_joined_up_to_the_limit():
    segments = list(pack(clips(100, 120, 80, 1), MOST))
    assert sources(segments) == [["u0", "u1", "u2"], ["u3"]]
    assert [s.samples for s in segments] == [300, 1]
    assert [s.condition_on_prev for s in segments] == [False, True]
    assert [s.text for s in segments] == ["t0 t1 t2", "t3"]
    assert [s.id for s in segments] == ["u0+2", "u3"]


def test_speakers_are_not_mixed_and_do_not_continue_each_other():
    segments = list(pack(clips(10, 10, 10, 295, 295, speakers="aabbb"), MOST))
    assert sources(segments) == [["u0", "u1"], ["u2"], ["u3"], ["u4"]]
    assert [s.condition_on_prev for s in segments] == [False, False, True, True]


def test_published_batches_are_borders_and_the_default_has_none():
    rows = clips(*[10] * 5)
    assert sources(pack(rows, MOST)) == [["u0", "u1", "u2", "u3", "u4"]]
    bounded = list(pack(rows, MOST, batch_size=2))
    assert sources(bounded) == [["u0", "u1"], ["u2", "u3"], ["u4"]]
    assert not any(s.condition_on_prev for s in bounded)


def test_a_missing_reference_leaves_the_segment_without_one():
    first, second = clips(10, 10)
    (segment,) = pack([first, Clip("x", 10, speaker="a")], MOST)
    assert segment.text is None
    (segment,) = pack([first, second], MOST)
    assert segment.text == "t0 t1"


def test_a_long_utterance_is_refused_or_kept_as_published():
    rows = clips(10, 301, 10)
    with pytest.raises(WhisperError, match="u1 has 301 samples, a segment at most 300"):
        list(pack(rows, MOST))
    assert sources(pack(rows, MOST, long_clips="keep")) == [["u0"], ["u1"], ["u2"]]


def test_nothing_gives_nothing():
    assert list(pack([], MOST)) == []


def test_without_joining_only_pieces_continue():
    rows = [
        Clip("a", 5),
        Clip("b-1", 5, source_id="b"),
        Clip("b-2", 5, source_id="b", continues=True),
    ]
    segments = list(one_by_one(rows))
    assert [s.condition_on_prev for s in segments] == [False, False, True]
    assert sources(segments) == [["a"], ["b"], ["b"]]


def test_published_names():
    (segment,) = pack(clips(10), MOST)
    assert published_id("ds", segment, 3) == "ds-a-3"
    (segment,) = pack([Clip("x", 10)], MOST)
    assert published_id("ds", segment, 3) == "ds-3"


@given(
    rows=st.lists(st.tuples(st.integers(1, MOST), st.sampled_from("abc")), max_size=40),
    batch=st.none() | st.integers(1, 7),
)
def test_packing_keeps_every_utterance_in_order(rows, batch):
    rows.sort(key=lambda row: row[1])
    given_clips = clips(*[n for n, _ in rows], speakers="".join(s for _, s in rows) or "")
    segments = list(pack(given_clips, MOST, batch_size=batch))
    assert [clip for segment in segments for clip in segment.clips] == given_clips
    for before, segment in zip([None, *segments], segments, strict=False):
        assert segment.samples <= MOST
        assert len({clip.speaker for clip in segment.clips}) == 1
        if before is not None and batch is None:
            # Greedy: what begins a segment did not fit into the one before.
            same = before.speaker == segment.speaker
            assert segment.condition_on_prev == same
            assert not same or before.samples + segment.clips[0].samples > MOST
    assert not segments or not segments[0].condition_on_prev


RATE = 1000


def speech(seconds: float, *pauses: float) -> np.ndarray:
    """Noise with pauses of 0.3 s around the given times."""
    wave = np.random.default_rng(0).normal(0, 0.1, round(seconds * RATE)).astype(np.float32)
    for pause in pauses:
        wave[round((pause - 0.15) * RATE) : round((pause + 0.15) * RATE)] = 0.0
    return wave


def test_long_speech_is_cut_in_its_pauses():
    cuts = quiet_cuts(speech(50, 23.0, 28.0, 40.0), 30 * RATE, RATE)
    assert [abs(cut / RATE - 23.0) < 0.15 for cut in cuts] == [True]


def test_short_speech_is_not_cut():
    assert quiet_cuts(speech(30), 30 * RATE, RATE) == []
    clip = Clip("u", 30 * RATE)
    assert split_clip(clip, speech(30), 30 * RATE, RATE) == [clip]


@given(st.integers(1, 2000), st.integers(20, 400), st.integers(0, 3))
def test_pieces_cover_everything_and_fit(samples, most, seed):
    wave = np.random.default_rng(seed).normal(size=samples).astype(np.float32)
    pieces = split_clip(Clip("u", samples, text="x", start=7, speaker="s"), wave, most, 100)
    assert sum(piece.samples for piece in pieces) == samples
    assert all(0 < piece.samples <= most for piece in pieces)
    assert len(pieces) == -(-samples // most)
    assert [p.start for p in pieces] == [7 + sum(q.samples for q in pieces[:n])
                                         for n in range(len(pieces))]  # fmt: skip
    if len(pieces) > 1:
        assert {p.text for p in pieces} == {None}
        assert {p.source_id for p in pieces} == {"u"}
        assert [p.continues for p in pieces] == [False] + [True] * (len(pieces) - 1)
        assert all(p.ranged for p in pieces)
        assert len({p.id for p in pieces}) == len(pieces)


def test_digital_silence_is_divided_evenly():
    assert quiet_cuts(np.zeros(40 * RATE, np.float32), 30 * RATE, RATE) == [20 * RATE]


def test_pieces_are_named_by_their_times():
    pieces = split_clip(Clip("u", 40 * RATE), speech(40, 20.0), 30 * RATE, RATE)
    assert pieces[0].id.startswith("u-0000000-000")
    assert pieces[1].id == f"u-{pieces[0].id.split('-')[2]}-0004000"
