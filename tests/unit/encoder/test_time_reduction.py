"""Frames merged on the way: hidden states keep the teacher's frame rate all the same."""

from __future__ import annotations

import pytest
import torch

from espnet_kd.encoder import SpeechEncoder
from espnet_kd.encoder.layer import TimeReduction, restore_frames
from espnet_kd.errors import ConfigError
from tests.unit.encoder.tiny import all_close, close, tiny, waves


def _model(
    factors: list[int], name: str = "maskhubert", kernel: int = 2, **changes
) -> SpeechEncoder:
    records = tiny(name, num_layers=len(factors)).config.to_dict()["layers"]
    for record, factor in zip(records, factors, strict=True):
        record.update(time_reduction=factor, time_reduction_kernel=kernel)
    return tiny(name, num_layers=len(factors), layers=records, **changes)


@torch.no_grad()
@pytest.mark.parametrize("samples", [400, 720, 4000, 4320])  # 1, 2, 12 and 13 frames
@pytest.mark.parametrize("factors", [[2, 1, 1], [1, 2, 2], [1, 3, 1], [1, 1, 2]])
def test_all_hidden_states_align(samples: int, factors: list[int]) -> None:
    for name in ("maskhubert", "wavlm_base"):
        model, (x_BS, _) = _model(factors, name), waves(samples, samples)
        output = model(x_BS)
        lengths = {state.size(1) for state in [*output.hidden_states, *output.layer_outputs]}
        assert lengths == {model.frame_count(samples)}


@torch.no_grad()
@pytest.mark.parametrize("frames", [1, 4, 5])
@pytest.mark.parametrize(("factor", "kernel"), [(2, 2), (2, 3), (3, 2), (3, 5), (2, 1)])
def test_frames_after_the_convolution(frames: int, factor: int, kernel: int) -> None:
    reduction = TimeReduction(4, kernel, factor)
    y_BTD = reduction(torch.randn(2, frames, 4))
    assert y_BTD.shape == (2, -(-frames // factor), 4)
    assert restore_frames(y_BTD, factor, frames).shape == (2, frames, 4)


@torch.no_grad()
def test_merged_frames_are_the_strided_convolution() -> None:
    reduction, x_BTD = TimeReduction(4, 2, 2), torch.randn(1, 6, 4)
    weight = reduction.conv.weight
    pairs = x_BTD.view(1, 3, 2, 4)
    expected = torch.einsum("btkc,ock->bto", pairs, weight) + reduction.conv.bias
    close(reduction(x_BTD), expected)
    assert torch.equal(restore_frames(x_BTD, 2, 11)[:, :2], x_BTD[:, [0, 0]])


@torch.no_grad()
def test_padded_equals_alone_with_merged_frames() -> None:
    # 12 and 6 frames: padding begins with a merged frame.
    model = _model([1, 2, 1], extractor_norm="layer_norm")
    x_BS, lengths_B = waves(4000, 2080)
    output = model(x_BS, lengths_B)
    frames = int(output.lengths_B[1])
    alone = model(x_BS[1:, :2080]).hidden_states
    all_close([state[1:, :frames] for state in output.hidden_states], alone)


def test_a_map_is_not_reused_across_frame_rates() -> None:
    records = tiny("armhubert").config.to_dict()["layers"]
    records[1]["time_reduction"] = 2
    with pytest.raises(ConfigError, match=r"layers\[1\] reuses a map"):
        tiny("armhubert", layers=records)


@torch.no_grad()
def test_maps_are_shared_at_the_lower_rate() -> None:
    records = tiny("armhubert").config.to_dict()["layers"]
    records[2]["time_reduction"] = 2
    output = tiny("armhubert", layers=records)(waves(4000)[0], return_attention_maps=True)
    sizes = [None if m is None else m.size(-1) for m in output.attention_maps]
    assert sizes == [12, None, 6, None]


def test_gradients_flow_through_merged_frames() -> None:
    model = _model([1, 2, 1])
    model(waves(4000)[0]).last_hidden_state.square().sum().backward()
    assert model.time_reductions["1"].conv.weight.grad.any()
    assert model.feature_extractor.conv_layers[0].conv.weight.grad.any()
