"""Layers that reuse an attention map, in the three modes."""

from __future__ import annotations

import pytest
import torch

from espnet_kd.encoder import SpeechEncoder
from espnet_kd.encoder.attention import SharedMap, mix_heads
from tests.unit.encoder.tiny import all_close, close, tiny, waves

PATTERNS = {
    "alternating": [True, False, True, False],
    "several in a row": [True, False, False, False],
    "late": [True, True, False, False],
}


def _model(pattern: list[bool], mode: str) -> SpeechEncoder:
    records = tiny("armhubert").config.to_dict()["layers"]
    for record, computes in zip(records, pattern, strict=True):
        record["attention"] = "full" if computes else "reused"
    return tiny("armhubert", layers=records, reuse_mode=mode)


@torch.no_grad()
@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_alone_the_published_way_equals_the_repaired_one(pattern: list[bool]) -> None:
    x_BS, _ = waves(4000)
    all_close(
        _model(pattern, "ref")(x_BS).hidden_states, _model(pattern, "fixed")(x_BS).hidden_states
    )


@torch.no_grad()
@pytest.mark.parametrize("mode", ["fixed", "single"])
@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_an_utterance_does_not_depend_on_its_batch(pattern: list[bool], mode: str) -> None:
    model, (x_BS, _) = _model(pattern, mode), waves(4000, 4000, 4000)
    together = model(x_BS).hidden_states
    for index in range(3):
        alone = model(x_BS[index : index + 1]).hidden_states
        all_close([state[index : index + 1] for state in together], alone)


@torch.no_grad()
def test_the_published_way_mixes_utterances() -> None:
    model, (x_BS, _) = _model(PATTERNS["alternating"], "ref"), waves(4000, 4000, 4000)
    together = model(x_BS).hidden_states[-1][1]
    alone = model(x_BS[1:2]).hidden_states[-1][0]
    assert (together - alone).abs().max() > 1e-3


@torch.no_grad()
def test_a_reusing_layer_weighs_by_the_softmax_of_the_map() -> None:
    x_BS, _ = waves(4000)
    for mode in ("fixed", "single"):
        model = _model([True, False, True, False], mode)
        output = model(x_BS, return_attention_maps=True)
        map_BHTT, layer = output.attention_maps[0], model.layers[1]
        weights = map_BHTT if mode == "single" else map_BHTT.softmax(-1)
        x_BTD = output.layer_outputs[0]
        v_BHTd = layer.attention.v_proj(x_BTD).view(1, -1, 4, 4).transpose(1, 2)
        y_BTD = layer.attention.out_proj((weights @ v_BHTd).transpose(1, 2).flatten(2))
        h_BTD = layer.attention_norm(x_BTD + y_BTD)
        close(layer.final_norm(h_BTD + layer.feed_forward(h_BTD)), output.layer_outputs[1])


@torch.no_grad()
@pytest.mark.parametrize("mode", ["fixed", "ref", "single"])
def test_padded_keys_get_no_weight(mode: str) -> None:
    maps_BHTK = torch.rand(2, 3, 4, 4).softmax(-1)
    padding_BK = torch.tensor([[False] * 4, [False, False, True, True]])
    if mode == "single":  # such a map has zeros there already
        maps_BHTK = (maps_BHTK * ~padding_BK[:, None, None]).clone()
    shared = SharedMap(maps_BHTK, padding_BK, mode)
    v_BHKd = torch.randn(2, 3, 4, 5)
    before = shared.apply(v_BHKd)
    v_BHKd[1, :, 2:] = 1e3
    close(shared.apply(v_BHKd), before)


def test_mixing_follows_the_published_memory_layout() -> None:
    batch, heads = 2, 3
    map_BHTK = torch.arange(batch * heads).float().view(batch, heads, 1, 1)
    mixed = mix_heads(map_BHTK)
    for b in range(batch):
        for h in range(heads):
            # Slot b*H + h receives head h' of utterance b' with h'*B + b' = b*H + h.
            other_head, other = divmod(b * heads + h, batch)
            assert mixed[b, h] == map_BHTK[other, other_head]


def test_several_layers_share_one_computation() -> None:
    shared = SharedMap(torch.rand(1, 2, 3, 3).softmax(-1), None, "fixed")
    first = shared._second_softmax[0]
    shared.apply(torch.randn(1, 2, 3, 4))
    assert shared._second_softmax[0] is first


def test_gradients_reach_the_map_through_reusing_layers() -> None:
    model, (x_BS, _) = _model([True, False, False, False], "fixed"), waves(4000)
    frames, direct = model.embed(x_BS), {}
    for index in (0, 3):
        model.zero_grad()
        model.encode(frames).layer_outputs[index].square().sum().backward(retain_graph=True)
        direct[index] = model.layers[0].attention.q_proj.weight.grad.clone()
    assert direct[3].any()
    assert not torch.allclose(direct[0], direct[3])


def test_reused_maps_are_not_dropped() -> None:
    model = _model([True, False, False, False], "single")
    model.config.dropout = 0.0
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model.layers[0].attention.dropout = 0.0
    with torch.no_grad():
        x_BS, _ = waves(4000)
        all_close(model.train()(x_BS).hidden_states, model.eval()(x_BS).hidden_states)


def test_reusing_layers_have_no_query_and_key() -> None:
    names = {name.rsplit(".", 2)[1] for name, _ in tiny("armhubert").layers[1].named_parameters()}
    assert {"v_proj", "out_proj"} <= names
    assert not {"q_proj", "k_proj"} & names
