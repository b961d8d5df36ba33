"""Lengths, padding and masks: a padded utterance gives what it gives alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from espnet_kd.encoder.padding import (
    chunked_lengths,
    conv_lengths,
    normalize_waveform,
    padding_mask,
)
from espnet_kd.errors import AudioError
from tests.unit.encoder.tiny import all_close, close, tiny, waves


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(1, 6), st.integers(1, 4)), min_size=1, max_size=5),
    st.integers(1, 400),
)
def test_lengths_are_those_of_real_convolutions(convs, samples: int) -> None:
    counted = int(conv_lengths(torch.tensor([samples]), [(1, k, s) for k, s in convs])[0])
    x_BCT = torch.zeros(1, 1, samples)
    for kernel, stride in convs:
        if x_BCT.size(-1) < kernel:
            assert counted == 0
            return
        x_BCT = F.conv1d(x_BCT, torch.zeros(1, 1, kernel), stride=stride)
    assert counted == x_BCT.size(-1)


@settings(max_examples=60)
@given(st.integers(400, 9000), st.integers(1, 9000))
def test_chunked_lengths_are_the_published_reshape(longest: int, samples: int) -> None:
    samples, frames = min(longest, samples), (longest - 400) // 320 + 1
    counted = int(chunked_lengths(torch.tensor([samples]), longest, frames)[0])
    sample_padding = torch.arange(longest) >= samples
    cut = sample_padding[: longest - longest % frames].view(frames, -1)
    assert counted == int((~cut.all(-1)).sum())


def test_chunks_give_at_most_two_frames_more() -> None:
    hubert, student = tiny("hubert_base", frame_padding="chunked"), tiny("armhubert")
    x_BS, lengths_B = waves(8000, 6100, 7080)
    more = hubert.embed(x_BS, lengths_B).lengths_B - student.embed(x_BS, lengths_B).lengths_B
    assert more.min() >= 0
    assert more.max() in (1, 2)


def test_no_padding_needs_no_mask() -> None:
    assert padding_mask(torch.tensor([5, 6]), 5) is None
    assert padding_mask(torch.tensor([1, 3]), 3).tolist() == [[False, True, True], [False] * 3]


def test_equal_lengths_are_the_same_as_none() -> None:
    model, (x_BS, lengths_B) = tiny("armhubert"), waves(3000, 3000)
    with torch.no_grad():
        given_lengths, none = model(x_BS, lengths_B), model(x_BS)
    all_close(given_lengths.hidden_states, none.hidden_states, atol=0.0)
    assert given_lengths.padding_BT is None
    assert none.lengths_B is None


# GroupNorm's statistics run over time, padding included; LayerNorm's do not.
@torch.no_grad()
@pytest.mark.parametrize("name", ["hubert_large", "wavlm_large", "armhubert", "starhubert"])
@pytest.mark.parametrize("normalize", [False, True])
def test_padded_equals_alone(name: str, normalize: bool) -> None:
    model = tiny(name, extractor_norm="layer_norm", normalize_waveform=normalize)
    lengths = (6000, 4500, 900)
    x_BS, lengths_B = waves(*lengths)
    output = model(x_BS, lengths_B)
    for index, samples in enumerate(lengths):
        alone = model(x_BS[index : index + 1, :samples]).hidden_states
        frames = int(output.lengths_B[index])
        assert alone[0].size(1) == frames
        together = [state[index : index + 1, :frames] for state in output.hidden_states]
        all_close(together, alone, atol=3e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", ["hubert_base", "wavlm_base", "armhubert"])
def test_what_padding_holds_does_not_matter_to_layers(name: str) -> None:
    model, (x_BS, lengths_B) = tiny(name), waves(4000, 2000)
    frames = model.embed(x_BS, lengths_B)
    before = model.encode(frames).hidden_states
    frames.x_BTD[frames.padding_BT] = 1e4
    after = model.encode(frames).hidden_states
    valid = int(frames.lengths_B[1])
    all_close([s[1, :valid] for s in after], [s[1, :valid] for s in before])


@torch.no_grad()
@pytest.mark.parametrize("maps", [False, True])
def test_padding_gives_no_nan(maps: bool) -> None:
    for name in ("hubert_base", "wavlm_base", "hubert_large", "armhubert"):
        model, (x_BS, lengths_B) = tiny(name), waves(6000, 400)
        output = model(x_BS, lengths_B, return_attention_maps=maps)
        assert all(torch.isfinite(state).all() for state in output.hidden_states)


def test_normalisation_is_per_utterance() -> None:
    x_BS, lengths_B = waves(3000, 1000)
    x_BS = torch.where(x_BS == 0, 0.0, x_BS * 5 + 2)
    y_BS = normalize_waveform(x_BS, lengths_B)
    for row, source, samples in zip(y_BS, x_BS, lengths_B.tolist(), strict=True):
        close(row[:samples], F.layer_norm(source[:samples], (samples,)))
        assert not row[samples:].any()
    close(normalize_waveform(x_BS[:1], None), y_BS[:1])


def test_silence_stays_finite() -> None:
    y_BS = normalize_waveform(torch.zeros(2, 500), torch.tensor([500, 300]))
    assert torch.equal(y_BS, torch.zeros(2, 500))


@pytest.mark.parametrize(
    ("shape", "lengths", "said"),
    [
        ((4000,), None, "mono"),
        ((1, 2, 4000), None, "mono"),
        ((1, 399), None, "too short: 400"),
        ((2, 0), None, "too short"),
        ((0, 4000), None, "empty"),
        ((2, 4000), [4000], "do not fit"),
        ((2, 4000), [4000, 399], "utterance 1"),
        ((2, 4000), [4000, 0], "utterance 1"),
        ((2, 4000), [4000, -5], "utterance 1"),
        ((2, 4000), [4000, 4001], "utterance 1"),
    ],
)
@pytest.mark.parametrize("name", ["armhubert", "hubert_base"])
def test_impossible_batches(name: str, shape, lengths, said: str) -> None:
    model = tiny(name, frame_padding="chunked" if name == "hubert_base" else "conv")
    lengths_B = None if lengths is None else torch.tensor(lengths)
    if name == "hubert_base" and lengths == [4000, 399]:
        return  # by the chunked rule 399 of 4000 samples still are two frames
    with pytest.raises(AudioError, match=said):
        model(torch.zeros(shape), lengths_B)


def test_integers_are_refused() -> None:
    with pytest.raises(AudioError, match="float"):
        tiny("armhubert")(torch.zeros(1, 4000, dtype=torch.int16))


def test_shortest_utterance() -> None:
    model, (x_BS, _) = tiny("armhubert"), waves(400)
    assert model(x_BS).hidden_states[0].shape[:2] == (1, 1)
    assert [model.frame_count(n) for n in (0, 399, 400, 719, 720)] == [0, 0, 1, 1, 2]
