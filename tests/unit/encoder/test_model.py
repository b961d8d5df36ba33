"""What the forward pass offers besides hidden states, and that models are ordinary modules."""

from __future__ import annotations

import copy

import pytest
import torch

from espnet_kd.encoder import FrameFeatures, SpeechEncoder
from espnet_kd.encoder.architectures import list_architectures
from espnet_kd.encoder.layer import TransformerLayer
from espnet_kd.errors import CheckpointError, ConfigError, KDError
from tests.unit.encoder.tiny import all_close, close, tiny, waves

NAMES = list_architectures()


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("depth", [1, 3])
def test_fewer_layers_are_the_beginning_of_all(name: str, depth: int) -> None:
    model, (x_BS, lengths_B) = tiny(name), waves(4000, 3000)
    whole = model(x_BS, lengths_B, return_attention_maps=True)
    part = model(x_BS, lengths_B, num_layers=depth, return_attention_maps=True)
    all_close(part.layer_outputs, whole.layer_outputs[:depth])
    all_close(part.hidden_states, whole.hidden_states[: len(part.hidden_states)])
    assert len(part.attention_maps) == depth
    assert len(part.hidden_states) == depth + (model.config.hidden_states == "transformers")


@pytest.mark.parametrize("depth", [0, 5, -1])
def test_impossible_depths(depth: int) -> None:
    with pytest.raises(KDError, match="num_layers.*4"):
        tiny("armhubert")(waves(4000)[0], num_layers=depth)


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_asking_for_maps_changes_nothing_else(name: str) -> None:
    model, (x_BS, lengths_B) = tiny(name), waves(4000, 3000)
    with_maps = model(x_BS, lengths_B, return_attention_maps=True)
    plain = model(x_BS, lengths_B)
    assert plain.attention_maps is None
    valid = ~plain.padding_BT if plain.padding_BT is not None else slice(None)
    for one, other in zip(with_maps.hidden_states, plain.hidden_states, strict=True):
        close(one[valid], other[valid])


@torch.no_grad()
def test_masked_frames_do_not_see_their_features() -> None:
    model, (x_BS, _) = tiny("hubert_base"), waves(4000)
    frames = model.embed(x_BS)
    assert isinstance(frames, FrameFeatures)
    mask_BT = torch.zeros(1, 12, dtype=torch.bool)
    mask_BT[:, 3:6] = True
    before = model.encode(frames, mask_BT).hidden_states
    kept = frames.x_BTD.clone()
    frames.x_BTD[mask_BT] = 7.0
    all_close(model.encode(frames, mask_BT).hidden_states, before, atol=0.0)
    # The features themselves stay what they were, for the next pass over them.
    frames.x_BTD[mask_BT] = kept[mask_BT]
    assert torch.equal(frames.x_BTD, kept)
    assert (model.encode(frames).last_hidden_state - before[-1]).abs().max() > 1e-3


def test_masks_that_do_not_fit() -> None:
    x_BS, _ = waves(4000)
    with pytest.raises(KDError, match=r"mask has shape \(1, 11\).*\(1, 12\)"):
        tiny("armhubert")(x_BS, mask_BT=torch.zeros(1, 11, dtype=torch.bool))
    with pytest.raises(KDError, match="boolean"):
        tiny("armhubert")(x_BS, mask_BT=torch.zeros(1, 12))
    with pytest.raises(KDError, match="mask_embedding: true"):
        tiny("starhubert")(x_BS, mask_BT=torch.zeros(1, 12, dtype=torch.bool))


@torch.no_grad()
@pytest.mark.parametrize("name", ["armhubert", "wavlm_base", "hubert_large"])
def test_two_passes_in_one_batch(name: str) -> None:
    model, (x_BS, lengths_B) = tiny(name), waves(4000, 3000)
    mask_BT = torch.zeros(2, 12, dtype=torch.bool)
    mask_BT[:, 1:4] = True
    frames = model.embed(x_BS, lengths_B)
    both = model.encode(frames.repeat(2), torch.cat([torch.zeros_like(mask_BT), mask_BT]))
    apart = [model(x_BS, lengths_B), model(x_BS, lengths_B, mask_BT)]
    assert both.lengths_B.tolist() == lengths_B.new_tensor([12, 9, 12, 9]).tolist()
    for index, output in enumerate(apart):
        halves = [state[2 * index : 2 * index + 2] for state in both.hidden_states]
        all_close(halves, output.hidden_states)


@torch.no_grad()
def test_hidden_states_by_convention() -> None:
    x_BS, _ = waves(4000)
    outputs = {
        kind: tiny("armhubert", hidden_states=kind)(x_BS)
        for kind in ("heads", "layers", "transformers")
    }
    one = outputs["heads"]
    all_close(one.hidden_states, one.projections, atol=0.0)
    all_close(outputs["layers"].hidden_states, one.layer_outputs, atol=0.0)
    all_close(
        outputs["transformers"].hidden_states, [one.layer_input, *one.layer_outputs], atol=0.0
    )
    assert {kind: tiny("armhubert", hidden_states=kind).output_dim for kind in outputs} == {
        "heads": 12,
        "layers": 16,
        "transformers": 16,
    }


@torch.no_grad()
def test_final_norm_of_pre_norm_models() -> None:
    model, (x_BS, _) = tiny("hubert_large"), waves(4000)
    output = model(x_BS)
    close(output.last_hidden_state, model.encoder_norm(output.layer_outputs[-1]))
    close(output.hidden_states[-2], output.layer_outputs[-2])
    # Stopped early, the last state is an ordinary one.
    close(model(x_BS, num_layers=2).last_hidden_state, output.hidden_states[2])


@torch.no_grad()
def test_heads_as_wide_as_the_student_are_the_identity() -> None:
    model, (x_BS, _) = tiny("armhubert", head_dim=16), waves(4000)
    assert not list(model.heads.parameters())
    output = model(x_BS)
    all_close(output.projections, output.layer_outputs, atol=0.0)


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_copies_and_state_dicts(name: str) -> None:
    model, (x_BS, lengths_B) = tiny(name), waves(3000, 2000)
    expected = model(x_BS, lengths_B).hidden_states
    all_close(copy.deepcopy(model)(x_BS, lengths_B).hidden_states, expected, atol=0.0)
    other = tiny(name, seed=1)
    other.load_state_dict(model.state_dict())
    all_close(other(x_BS, lengths_B).hidden_states, expected, atol=0.0)


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_autocast(name: str) -> None:
    model, (x_BS, lengths_B) = tiny(name).train(), waves(4000, 3000)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(x_BS, lengths_B)
        loss = sum(state.float().square().mean() for state in output.hidden_states)
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


@torch.no_grad()
def test_bfloat16_stays_near_float32() -> None:
    model, (x_BS, lengths_B) = tiny("armhubert"), waves(4000, 3000)
    exact = model(x_BS, lengths_B).last_hidden_state
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = model(x_BS, lengths_B).last_hidden_state
    assert (rough.float() - exact).abs().mean() < 0.05 * exact.abs().mean()


@torch.no_grad()
@pytest.mark.parametrize("name", ["armhubert", "wavlm_base", "hubert_large"])
def test_half_precision_weights(name: str) -> None:
    model, (x_BS, lengths_B) = tiny(name).bfloat16(), waves(4000, 3000)
    output = model(x_BS.bfloat16(), lengths_B)
    assert output.last_hidden_state.dtype == torch.bfloat16
    assert torch.isfinite(output.last_hidden_state).all()


@pytest.mark.parametrize("pattern", ["armhubert", "maskhubert"])
def test_layerdrop_spares_layers_whose_maps_are_needed(pattern: str) -> None:
    model, (x_BS, _) = tiny(pattern, layerdrop=0.9).train(), waves(4000)
    ran: list[int] = []
    for index, layer in enumerate(model.layers):
        assert isinstance(layer, TransformerLayer)
        layer.register_forward_hook(lambda *_, index=index: ran.append(index))
    torch.manual_seed(3)
    rounds = 20
    for _ in range(rounds):
        output = model(x_BS)
        assert len(output.hidden_states) == 4
    assert len(ran) < 4 * rounds
    if pattern == "armhubert":
        assert ran.count(0) == ran.count(2) == rounds
    ran.clear()
    model.eval()(x_BS)
    assert ran == [0, 1, 2, 3]


def test_dropout_only_in_training() -> None:
    model, (x_BS, _) = tiny("armhubert", dropout=0.5), waves(4000)
    assert torch.equal(model(x_BS).last_hidden_state, model(x_BS).last_hidden_state)
    model.train()
    assert not torch.equal(model(x_BS).last_hidden_state, model(x_BS).last_hidden_state)


@pytest.mark.parametrize(
    "field", ["dropout", "attention_dropout", "activation_dropout", "dropout_input"]
)
def test_every_dropout_acts(field: str) -> None:
    off = dict.fromkeys(
        ("dropout", "attention_dropout", "activation_dropout", "dropout_input"), 0.0
    )
    x_BS, _ = waves(4000)
    silent = tiny("hubert_base", **off).train()
    assert torch.equal(silent(x_BS).last_hidden_state, silent(x_BS).last_hidden_state)
    model = tiny("hubert_base", **{**off, field: 0.5}).train()
    assert not torch.equal(model(x_BS).last_hidden_state, model(x_BS).last_hidden_state)


def test_overrides_on_loading(tmp_path) -> None:
    tiny("armhubert").save_pretrained(tmp_path)
    model = SpeechEncoder.from_pretrained(tmp_path, reuse_mode="single", dropout=0)
    assert model.config.reuse_mode == "single"
    assert model.config.dropout == 0.0
    with pytest.raises(ConfigError, match="reuse_mod.*did you mean reuse_mode"):
        SpeechEncoder.from_pretrained(tmp_path, reuse_mod="single")
    with pytest.raises(CheckpointError, match=r"q_proj"):
        SpeechEncoder.from_pretrained(
            tmp_path, layers=tiny("maskhubert").config.to_dict()["layers"]
        )


def test_dropping_the_heads_on_loading(tmp_path) -> None:
    model, (x_BS, _) = tiny("armhubert"), waves(3000)
    model.save_pretrained(tmp_path)
    light = SpeechEncoder.from_pretrained(tmp_path, head_dim=0)
    assert light.heads is None
    assert light.config.hidden_states == "layers"
    all_close(light(x_BS).hidden_states, model(x_BS).layer_outputs, atol=0.0)
    states = SpeechEncoder.from_pretrained(tmp_path, head_dim=0, hidden_states="transformers")
    assert len(states(x_BS).hidden_states) == 5
