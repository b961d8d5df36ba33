"""Weights in bfloat16: every kind of encoder runs on CPUs and stays near its float32 numbers."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from espnet_kd.encoder import SpeechEncoder
from espnet_kd.encoder.architectures import list_architectures
from tests.unit.encoder.tiny import tiny, waves

# bfloat16 has 8 bits: 0.4 % per rounding. Base-size models differ by 1 to 2 %, these tiny ones,
# whose attention is much sharper, by more.
DISTANCE = 0.05


def _with_layers(name: str, changes: list[dict[str, Any]], **others: Any) -> SpeechEncoder:
    layers = tiny(name).config.to_dict()["layers"]
    for record, change in zip(layers, changes, strict=True):
        record.update(change)
    return tiny(name, layers=layers, **others)


PRUNED: list[dict[str, Any]] = [{"num_heads": 3}, {"attention": "none"}, {"ffn_dim": 0}, {}]
MODELS = {
    **{name: (lambda name=name: tiny(name)) for name in list_architectures()},
    "single": lambda: tiny("armhubert", reuse_mode="single"),
    "ref": lambda: tiny("armhubert", reuse_mode="ref"),
    "pruned_hubert": lambda: _with_layers("hubert_base", PRUNED, channel_scale=True),
    "pruned_wavlm": lambda: _with_layers(
        "wavlm_large",
        [{**PRUNED[0], "kept_heads": [0, 2, 3]}, *PRUNED[1:]],
        channel_scale=True, total_heads=4,
    ),
    "exact_norm": lambda: tiny("hubert_base", channel_scale=True, feature_norm_channels=12),
    "time_reduction": lambda: _with_layers("maskhubert", [{}, {"time_reduction": 2}, {}, {}]),
}  # fmt: skip


def distance(rough: Tensor, exact: Tensor) -> float:
    """Length of the difference relative to the exact vector's."""
    return float((rough.float() - exact).norm() / exact.norm())


@torch.no_grad()
@pytest.mark.parametrize("lengths", [(6000, 4000), None])
@pytest.mark.parametrize("name", MODELS)
def test_hidden_states_stay_near_float32(name: str, lengths: Any) -> None:
    model = MODELS[name]()
    (x_BS, lengths_B), rough = waves(*(lengths or (6000, 6000))), copy.deepcopy(model).bfloat16()
    options = (x_BS, lengths_B if lengths else None)
    expected, output = model(*options), rough(*options)
    frames = expected.lengths_B.tolist() if lengths else [expected.last_hidden_state.size(1)] * 2
    for state, exact in zip(output.hidden_states, expected.hidden_states, strict=True):
        assert state.dtype == torch.bfloat16
        for row, exact_row, count in zip(state, exact, frames, strict=True):
            assert distance(row[:count], exact_row[:count]) < DISTANCE
    maps = rough(*options, return_attention_maps=True).attention_maps
    assert {m.dtype for m in maps if m is not None} == {torch.bfloat16}


@torch.no_grad()
@pytest.mark.parametrize("name", ["hubert_base", "hubert_large"])
def test_waveforms_of_either_type_are_taken(name: str) -> None:
    model, (x_BS, lengths_B) = tiny(name).bfloat16(), waves(6000, 4000)
    fine, coarse = (model(x, lengths_B) for x in (x_BS, x_BS.bfloat16()))
    assert distance(coarse.last_hidden_state, fine.last_hidden_state.float()) < DISTANCE
