from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from espnet_kd.errors import AudioError
from s3prl_upstreams.waves import pad_waves


@given(st.lists(st.integers(1, 2000), min_size=1, max_size=5))
def test_padding_keeps_every_sample(lengths):
    waves = [torch.full((length,), float(i + 1)) for i, length in enumerate(lengths)]
    x_BS, lengths_B = pad_waves(waves, 400)
    assert x_BS.shape == (len(lengths), max(400, *lengths))
    assert lengths_B.tolist() == [max(400, length) for length in lengths]
    for row, wave in zip(x_BS, waves, strict=True):
        assert torch.equal(row[: len(wave)], wave)
        assert not row[len(wave) :].any()


def test_gradients_reach_the_waves():
    wave = torch.randn(500, requires_grad=True)
    pad_waves([wave, torch.randn(900)], 400)[0].sum().backward()
    assert torch.equal(wave.grad, torch.ones(500))


@pytest.mark.parametrize(
    ("wave", "message"),
    [
        (torch.zeros(0), "wave 1 is empty"),
        (torch.zeros(2, 800), r"wave 1 has shape \(2, 800\).*mono"),
        (torch.zeros(800, dtype=torch.int16), "wave 1 holds torch.int16.*32768"),
        (torch.tensor([0.0] * 700 + [float("nan")]), "wave 1.*sample 700 of 701"),
        (torch.tensor([float("inf")] * 500), "wave 1.*sample 0 of 500"),
    ],
)
def test_an_unusable_wave_is_named(wave, message):
    with pytest.raises(AudioError, match=message):
        pad_waves([torch.zeros(1000), wave], 400)


def test_an_empty_batch_is_refused():
    with pytest.raises(AudioError, match="at least one wave"):
        pad_waves([], 400)
