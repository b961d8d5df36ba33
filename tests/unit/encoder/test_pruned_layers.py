"""Layers that pruning shrank: fewer heads, no attention, no feed-forward block."""

from __future__ import annotations

import pytest
import torch

from espnet_kd.encoder.positions import PositionGate, RelativePositionBias
from tests.unit.encoder.tiny import all_close, close, tiny, waves


def _shrunk(name: str, **changes):
    records = tiny(name).config.to_dict()["layers"]
    records[1].update(changes)
    return tiny(name, layers=records)


@torch.no_grad()
@pytest.mark.parametrize("name", ["hubert_base", "hubert_large", "wavlm_base"])
def test_removed_heads_equal_silenced_heads(name: str) -> None:
    kept = [0, 2, 3]
    full = tiny(name)
    rows = torch.cat([torch.arange(h * 4, h * 4 + 4) for h in kept])
    with_bias = bool(full.config.num_buckets)
    small = _shrunk(name, num_heads=3, kept_heads=kept if with_bias else None)
    state = full.state_dict()
    prefix = "layers.1.attention."
    for part in ("q", "k", "v"):
        for kind in ("weight", "bias"):
            state[f"{prefix}{part}_proj.{kind}"] = state[f"{prefix}{part}_proj.{kind}"][rows]
    state[prefix + "out_proj.weight"] = state[prefix + "out_proj.weight"][:, rows]
    small.load_state_dict(state)
    full.layers[1].attention.out_proj.weight[:, 4:8] = 0.0
    x_BS, lengths_B = waves(4000, 3000)
    for maps in (False, True):
        one = small(x_BS, lengths_B, return_attention_maps=maps)
        other = full(x_BS, lengths_B, return_attention_maps=maps)
        frames = int(one.lengths_B[1])
        all_close(
            [s[1, :frames] for s in one.hidden_states],
            [s[1, :frames] for s in other.hidden_states],
        )
    close(one.attention_maps[1], other.attention_maps[1][:, kept])


@torch.no_grad()
@pytest.mark.parametrize("name", ["hubert_base", "hubert_large", "wavlm_base", "armhubert"])
def test_absent_blocks_add_nothing(name: str) -> None:
    x_BS, _ = waves(4000)
    index = 3  # of the students, a reusing one: its map's owner does not care
    for changes, silenced in (
        ({"attention": "none"}, ("attention.out_proj",)),
        ({"ffn_dim": 0}, ("feed_forward.output",)),
    ):
        records = tiny(name).config.to_dict()["layers"]
        records[index].update(changes)
        small, full = tiny(name, layers=records), tiny(name)
        for prefix in silenced:
            for kind in ("weight", "bias"):
                full.get_parameter(f"layers.{index}.{prefix}.{kind}").zero_()
        small.load_state_dict(
            {n: t for n, t in full.state_dict().items() if n in small.state_dict()}
        )
        all_close(small(x_BS).hidden_states, full(x_BS).hidden_states)


def test_bias_is_one_value_per_distance() -> None:
    bias = RelativePositionBias(num_buckets=8, max_distance=10, num_heads=2)
    full_HTK = bias(12)
    for offset in range(-11, 12):
        band = full_HTK.diagonal(offset, dim1=1, dim2=2)
        assert (band == band[:, :1]).all()
    # Near distances have their own bucket, far ones share the last.
    first_row = full_HTK[0, 0]
    assert first_row[1] != first_row[2]
    assert first_row[10] == first_row[11]
    assert full_HTK[0, 1, 0] != full_HTK[0, 0, 1]


def test_gate_of_one_leaves_the_bias() -> None:
    gate = PositionGate(8, 2, None)
    torch.nn.init.zeros_(gate.linear.weight)
    torch.nn.init.zeros_(gate.linear.bias)
    bias_HTK = torch.randn(2, 3, 3)
    # sigmoid(0) = 1/2 for both gates: 1/2 (1/2 c - 1) + 2 = 1.75 for c = 1.
    close(gate(torch.randn(1, 3, 8), bias_HTK), 1.75 * bias_HTK[None])
