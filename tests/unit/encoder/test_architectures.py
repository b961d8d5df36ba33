"""Every registered architecture: its published size, and that its tiny twin runs, trains, saves.

A new architecture is tested by being registered.
"""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from espnet_kd.encoder import SpeechEncoder, SpeechEncoderConfig
from espnet_kd.encoder.architectures import (
    architecture,
    list_architectures,
    register_architecture,
)
from espnet_kd.errors import ConfigError
from tests.unit.encoder.tiny import all_close, close, tiny, tiny_config, waves

NAMES = list_architectures()

# Published or counted on the published code (students), transformers' own counts (teachers).
PARAMETERS = {
    "hubert_base": 94_371_712,
    "hubert_large": 315_435_136,
    "wav2vec2_base": 94_371_712,
    "wav2vec2_large": 315_438_720,
    "wavlm_base": 94_381_936,
    "wavlm_large": 315_453_120,
    "armhubert": 26_448_448,
    "armhubert_s": 22_394_080,
    "armwavlm_s": 22_394_080,
    "maskhubert": 26_635_840,
    "starhubert": 22_308_592,
    "starhubert_l": 26_630_752,
}
WITHOUT_HEADS = {
    "armhubert": 22_015_552,
    "armhubert_s": 18_403_552,
    "maskhubert": 22_202_944,
    "starhubert": 22_308_592,
    "starhubert_l": 26_630_752,
}
# Front end, positional convolution, a computing and a reusing layer.
PARTS = {
    "armhubert": (1_865_216, 1_843_808, 1_756_224, 1_294_464),
    "armhubert_s": (1_677_824, 1_493_552, 1_456_224, 1_082_112),
    "maskhubert": (1_865_216, 1_843_808, 1_540_960, 1_540_960),
}


def _count(module: nn.Module | None) -> int:
    return 0 if module is None else sum(p.numel() for p in module.parameters())


def _full_size(name: str) -> SpeechEncoder:
    with torch.device("meta"):
        return SpeechEncoder(architecture(name))


def test_every_size_is_known() -> None:
    assert sorted(PARAMETERS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_parameters_of_the_full_size(name: str) -> None:
    model = _full_size(name)
    assert _count(model) == PARAMETERS[name]
    if name in WITHOUT_HEADS:
        assert _count(model) - _count(model.heads) == WITHOUT_HEADS[name]
    assert model.hop == 320
    assert model.min_samples == 400


@pytest.mark.parametrize("name", PARTS)
def test_parameters_of_the_parts(name: str) -> None:
    model, (front, positions, computing, second) = _full_size(name), PARTS[name]
    assert _count(model.feature_extractor) == front
    assert _count(model.pos_conv) == positions
    assert [_count(layer) for layer in model.layers[:2]] == [computing, second]
    # The norm on the front end's output is as wide as the encoder's.
    norm = model.feature_projection.norm
    assert _count(norm) == _count(model.encoder_norm) == 2 * model.config.embed_dim


@pytest.mark.parametrize(("name", "tensors"), [("armhubert", 211), ("maskhubert", 235)])
def test_number_of_weights(name: str, tensors: int) -> None:
    model = _full_size(name)
    assert len(model.state_dict()) == tensors
    assert not list(model.buffers())


@pytest.mark.parametrize("name", NAMES)
def test_outputs_have_the_promised_shapes(name: str) -> None:
    model, (x_BS, lengths_B) = tiny(name), waves(4000, 3000)
    frames, config = model.frame_count(4000), model.config
    with torch.no_grad():
        output = model(x_BS, lengths_B, return_attention_maps=True)
    count = config.num_layers + (config.hidden_states == "transformers")
    shape = (2, frames, model.output_dim)
    assert [tuple(state.shape) for state in output.hidden_states] == [shape] * count
    assert output.last_hidden_state is output.hidden_states[-1]
    assert [tuple(x.shape) for x in output.layer_outputs] == [(2, frames, 16)] * 4
    assert output.lengths_B.tolist() == [model.frame_count(4000), model.frame_count(3000)]
    for record, map_BHTT in zip(config.layers, output.attention_maps, strict=True):
        assert (map_BHTT is not None) == (record.attention == "full")
        if map_BHTT is not None:
            close(map_BHTT.sum(-1), torch.ones(2, 4, frames))
    assert (output.projections is None) == (config.head_dim == 0)


@pytest.mark.parametrize("name", NAMES)
def test_every_weight_is_trained(name: str) -> None:
    model, (x_BS, lengths_B) = tiny(name).train(), waves(4000, 3000)
    mask_BT = None
    if model.mask_embedding is not None:
        mask_BT = torch.zeros(2, model.frame_count(4000), dtype=torch.bool)
        mask_BT[:, 2:4] = True
    output = model(x_BS, lengths_B, mask_BT)
    sum(state.square().mean() for state in output.hidden_states).backward()
    idle = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    # A softmax does not see what is added to all keys.
    assert [n for n in idle if not n.endswith("k_proj.bias")] == []


@pytest.mark.parametrize("name", NAMES)
def test_config_survives_json(name: str) -> None:
    config = architecture(name)
    values = json.loads(json.dumps(config.to_dict()))
    assert SpeechEncoderConfig.from_dict(values) == config


@pytest.mark.parametrize("name", NAMES)
def test_model_survives_the_disk(name: str, tmp_path) -> None:
    model, (x_BS, lengths_B) = tiny(name), waves(3000, 2000)
    model.save_pretrained(tmp_path / "model")
    restored = SpeechEncoder.from_pretrained(tmp_path / "model")
    assert not restored.training
    assert restored.config == model.config
    with torch.no_grad():
        all_close(
            restored(x_BS, lengths_B).hidden_states, model(x_BS, lengths_B).hidden_states, atol=0.0
        )


def test_attention_of_the_published_students() -> None:
    kinds = [record.attention for record in architecture("armhubert").layers]
    assert kinds == ["full", "reused"] * 6
    assert {record.attention for record in architecture("maskhubert").layers} == {"full"}


def test_architectures_are_fresh_copies() -> None:
    architecture("armhubert").layers[0].ffn_dim = 1
    assert architecture("armhubert").layers[0].ffn_dim == 864


def test_unknown_names_suggest_the_closest() -> None:
    with pytest.raises(ConfigError, match=r"hubert_bass.*did you mean.*hubert_base"):
        architecture("hubert_bass")


def test_registering_a_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from espnet_kd.encoder import architectures

    monkeypatch.setattr(architectures, "_REGISTRY", dict(architectures._REGISTRY))

    def brand_new() -> SpeechEncoderConfig:
        return tiny_config("hubert_base")

    assert register_architecture(brand_new) is brand_new
    assert "brand_new" in list_architectures()
    assert architecture("brand_new") == tiny_config("hubert_base")
