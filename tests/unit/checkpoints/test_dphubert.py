"""DPHuBERT's layout: what can be in it, what cannot, and full-size parameter counts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from espnet_kd import load_model
from espnet_kd.bin.convert import main
from espnet_kd.checkpoints import dphubert
from espnet_kd.checkpoints.dphubert_config import from_ours, not_expressible, to_ours
from espnet_kd.checkpoints.dphubert_options import read_options
from espnet_kd.encoder import SpeechEncoder
from espnet_kd.encoder.architectures import architecture
from espnet_kd.errors import CheckpointError, ConfigError, KDError
from espnet_kd.pruning.sizes import parameter_total
from tests.unit.checkpoints import foreign
from tests.unit.encoder.tiny import all_close, tiny, waves

TEACHERS = ["hubert_base", "hubert_large", "wav2vec2_large", "wavlm_base", "wavlm_large"]


def _pruned(name: str, **changes: Any) -> SpeechEncoder:
    """A model whose layers differ: fewer heads and units, no attention, no feed-forward block."""
    layers = tiny(name).config.to_dict()["layers"]
    layers[0].update(num_heads=3, ffn_dim=5)
    layers[1].update(attention="none")
    layers[2].update(ffn_dim=0)
    if "wavlm" in name:
        layers[0]["kept_heads"] = [0, 2, 3]
        changes["total_heads"] = 4
    convs = [[c - i % 3, k, s] for i, (c, k, s) in enumerate(tiny(name).config.conv_layers)]
    return tiny(name, layers=layers, conv_layers=convs, channel_scale=True, **changes)


def _content(name: str = "hubert_base") -> dict[str, Any]:
    return dphubert.to_content(_pruned(name))


def _load(content: Any, tmp_path: Path) -> SpeechEncoder:
    return load_model(str(foreign.save(content, tmp_path / "model.pth")))


# --- There and back
@torch.no_grad()
@pytest.mark.parametrize("name", TEACHERS)
@pytest.mark.parametrize("whole", [True, False])
def test_same_outputs_after_the_disk(name: str, whole: bool, tmp_path: Path) -> None:
    model = tiny(name) if whole else _pruned(name)
    dphubert.save_dphubert(model, tmp_path / "model.pth")
    again = load_model(str(tmp_path / "model.pth"))
    foreign.same_outputs(again, model)
    assert again.config.channel_scale
    assert again.mask_embedding is None
    x_BS, lengths_B = waves(4000, 2600)
    output = again(x_BS, lengths_B)
    all_close(output.hidden_states, [output.features, *output.layer_outputs], atol=0.0)
    assert not again.training


@pytest.mark.parametrize("name", TEACHERS)
def test_a_second_way_changes_nothing(name: str, tmp_path: Path) -> None:
    first = _content(name)
    second = dphubert.to_content(_load(first, tmp_path))
    assert second["config"] == first["config"]
    assert second["state_dict"].keys() == first["state_dict"].keys()
    assert all(torch.equal(second["state_dict"][n], t) for n, t in first["state_dict"].items())


def test_the_published_keys() -> None:
    content = dphubert.to_content(tiny("wavlm_base"))
    assert list(content) == ["config", "state_dict", "distill_linear_projs"]
    config = content["config"]
    assert [value for key, value in config.items() if "prune" in key] == [False] * 5
    assert config["encoder_remaining_heads"] == [[0, 1, 2, 3]] * 4
    assert "encoder_num_heads" not in config
    state = content["state_dict"]
    assert torch.equal(state["feature_extractor.dummy_weight"], torch.ones(8))
    assert "encoder.transformer.pos_conv_embed.conv.weight_g" in state
    assert all(type(tensor) is torch.Tensor for tensor in state.values())


def test_no_list_of_convolutions_means_hubert() -> None:
    config = {**_content()["config"], "extractor_conv_layer_config": None}
    ours = to_ours(read_options(config, "file"), "file")
    assert ours.conv_layers == architecture("hubert_base").conv_layers


def test_names_that_newer_torch_gives(tmp_path: Path) -> None:
    content = _content()
    state, prefix = content["state_dict"], "encoder.transformer.pos_conv_embed.conv."
    for old, new in (("weight_g", "original0"), ("weight_v", "original1")):
        state[f"{prefix}parametrizations.weight.{new}"] = state.pop(prefix + old)
    foreign.same_outputs(_load(content, tmp_path), _pruned("hubert_base"))


def test_weights_alone_with_their_json(tmp_path: Path) -> None:
    import json

    from safetensors.torch import save_file

    content = _content("wavlm_base")
    weights, config = tmp_path / "x.safetensors", tmp_path / "x.json"
    save_file(content["state_dict"], weights)
    config.write_text(json.dumps(content["config"]))
    foreign.same_outputs(load_model(str(weights), config=config), _pruned("wavlm_base"))
    with pytest.raises(CheckpointError, match="give its configuration"):
        load_model(str(weights))


def test_projections_are_read_apart(tmp_path: Path) -> None:
    stored = {f"{j}.{p}": torch.full((3,), float(j)) for j in (0, 1) for p in ("weight", "bias")}
    dphubert.save_dphubert(_pruned("hubert_base"), tmp_path / "x.pth", stored)
    found = dphubert.read_projections(tmp_path / "x.pth")
    assert found.keys() == stored.keys()
    assert all(torch.equal(found[name], stored[name]) for name in stored)
    load_model(str(tmp_path / "x.pth"))
    content = {**_content(), "distill_linear_projs": {"a.weight": torch.ones(1)}}
    with pytest.raises(CheckpointError, match=r"a\.weight"):
        dphubert.read_projections(foreign.save(content, tmp_path / "y.pth"))


# --- What a file must not be
def test_every_wrong_option_is_listed(tmp_path: Path) -> None:
    content = _content("wavlm_base")
    config = content["config"]
    config["encoder_use_atention"] = config.pop("encoder_use_attention")
    config["encoder_ff_interm_features"] = [1, 2]
    config["encoder_remaining_heads"] = "all"
    del config["encoder_dropout"]
    config["normalize_waveform"] = "no"
    with pytest.raises(ConfigError) as caught:
        _load(content, tmp_path)
    text = str(caught.value)
    for part in (
        "unknown key encoder_use_atention; did you mean encoder_use_attention",
        "missing key encoder_use_attention",
        "missing key encoder_dropout",
        "encoder_ff_interm_features has 2 entries; encoder_num_layers is 4",
        "encoder_remaining_heads is 'all'",
        "normalize_waveform is 'no'",
        "model.pth",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("hubert_base", {"aux_num_out": 29}, "aux_num_out is 29"),
        ("hubert_base", {"extractor_mode": "default"}, "extractor_mode is 'default'"),
        ("hubert_base", {"encoder_dropout": 1.5}, "dropout is 1.5"),
        ("wavlm_base", {"encoder_total_num_heads": [4, 4, 3, 4]}, "encoder_total_num_heads"),
        ("wavlm_base", {"encoder_total_num_heads": [3] * 4}, "not a multiple of its 3 heads"),
        ("wavlm_base", {"encoder_use_attention": [False, True, True, True]}, "Q15"),
        ("wavlm_base", {"encoder_remaining_heads": [[0, 0, 1]] + [[0]] * 3}, "different indexes"),
    ],
)
def test_impossible_options(name: str, change: dict[str, Any], said: str, tmp_path: Path) -> None:
    content = _content(name)
    content["config"].update(change)
    with pytest.raises(ConfigError) as caught:
        _load(content, tmp_path)
    assert said in str(caught.value)


ODD = [None, True, 0, -1, 10**30, float("nan"), "x", [], {}, [[]], [None] * 4, [10**9] * 4,
       [[0, 9]] * 4, torch.ones(2)]  # fmt: skip


def _refusal(config: Any, state: Any) -> str:
    try:
        dphubert.from_content(config, state, "f", {})
    except KDError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", ["hubert_base", "wavlm_base"])
@pytest.mark.parametrize("value", ODD, ids=str)
def test_odd_values_are_no_crash(name: str, value: Any) -> None:
    content = _content(name)
    for key in content["config"]:
        said = _refusal({**content["config"], key: value}, content["state_dict"])
        assert not said or said.startswith(("f: ", "f is ", "the weights in f "))


def test_every_wrong_weight_is_listed(tmp_path: Path) -> None:
    content = _content()
    state = content["state_dict"]
    layer = "encoder.transformer.layers.3."
    del state[layer + "attention.k_proj.bias"]
    del state["feature_extractor.dummy_weight"]
    state[layer + "final_layer_norm.weight"] = torch.ones(3)
    with pytest.raises(CheckpointError) as caught:
        _load(content, tmp_path)
    text = str(caught.value)
    assert "2 missing" in text
    assert "channel_scale" in text
    assert "1 of another shape" in text
    state[layer + "attention.rubbish"] = torch.ones(3)
    with pytest.raises(CheckpointError, match=r"attention\.rubbish"):
        _load(content, tmp_path)


@pytest.mark.parametrize("sign", ["flag", "gate"])
def test_models_with_gates_are_refused(sign: str, tmp_path: Path) -> None:
    content = _content()
    if sign == "flag":
        content["config"]["encoder_prune_attention_heads"] = True
    else:
        name = "encoder.transformer.layers.0.attention.hard_concrete_for_heads.log_alpha"
        content["state_dict"][name] = torch.zeros(3)
    with pytest.raises(CheckpointError, match="prune it first"):
        _load(content, tmp_path)
    with pytest.raises(CheckpointError, match=r"gates\.head_0"):
        dphubert.read_gated(content["config"], content["state_dict"], "file")


@pytest.mark.parametrize("content", [{"config": {}}, [1], {"config": 3, "state_dict": {}}])
def test_other_files_are_refused(content: Any, tmp_path: Path) -> None:
    file = foreign.save(content, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="not a DPHuBERT checkpoint"):
        dphubert.load_dphubert(file)
    with pytest.raises(CheckpointError, match="leave --config out"):
        dphubert.load_dphubert(file, tmp_path / "x.json")


# --- What the layout has no place for
@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("armhubert", {}, ["reuse an attention map", "projection heads", "feature_projection"]),
        ("hubert_base", {"feature_norm_channels": 9}, ["feature_norm_channels"]),
        ("hubert_base", {"activation": "relu"}, ["activation relu; only gelu"]),
        ("hubert_base", {"layer_norm_eps": 1e-6}, ["layer_norm_eps"]),
        ("hubert_base", {"feature_layer_norm": False}, ["feature_layer_norm"]),
    ],
)
def test_what_cannot_be_written(
    name: str, changes: dict[str, Any], said: list[str], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        dphubert.save_dphubert(tiny(name, **changes), tmp_path / "x.pth")
    assert all(part in str(caught.value) for part in said)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "index", "change", "said"),
    [
        ("hubert_base", 1, {"time_reduction": 2}, "time reduction"),
        ("hubert_base", 1, {"head_dim": 8}, "heads of different widths"),
        ("wavlm_base", 0, {"attention": "none"}, "Q15"),
        ("wavlm_base", slice(None), {"head_dim": 8}, "whose width is not embed_dim / 4"),
    ],
)
def test_layers_that_cannot_be_written(
    name: str, index: Any, change: dict[str, Any], said: str
) -> None:
    values = tiny(name).config.to_dict()
    for layer in values["layers"][index] if isinstance(index, slice) else [values["layers"][index]]:
        layer.update(change)
    (problem,) = not_expressible(tiny(name).config.replace(layers=values["layers"]))
    assert said in problem


def test_fairseqs_rule_of_padding_is_written_as_the_layouts_own(tmp_path: Path) -> None:
    dphubert.save_dphubert(tiny("hubert_base", frame_padding="chunked"), tmp_path / "x.pth")
    assert load_model(str(tmp_path / "x.pth")).config.frame_padding == "conv"


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: Any) -> None:
    file = tmp_path / "x.pth"
    dphubert.save_dphubert(_pruned("hubert_base"), file)
    before = file.read_bytes()

    def full(content: Any, path: Path) -> None:
        path.write_bytes(b"half")
        raise RuntimeError("PytorchStreamWriter failed writing file data/0")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(KDError, match="cannot write"):
        dphubert.save_dphubert(_pruned("hubert_base"), file)
    assert file.read_bytes() == before
    assert os.listdir(tmp_path) == ["x.pth"]


# --- Published sizes
@pytest.mark.parametrize(
    ("name", "changes", "count"),
    [
        ("hubert_base", {}, 94_371_456),
        ("wav2vec2_base", {}, 94_371_456),
        ("wavlm_base", {}, 94_381_680),
        ("hubert_large", {}, 315_434_624),
        ("hubert_large", {"conv_bias": True}, 315_438_208),
        ("wavlm_large", {}, 315_452_608),
    ],
)
def test_full_size_parameters(name: str, changes: dict[str, Any], count: int) -> None:
    published = from_ours(architecture(name).replace(**changes))
    with torch.device("meta"):
        model = SpeechEncoder(to_ours(read_options(published, name), name))
    assert sum(parameter.numel() for parameter in model.parameters()) == count
    assert parameter_total(model) == count


# --- The command
def test_the_command_writes_the_layout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, directory, file = _pruned("wavlm_base"), tmp_path / "native", tmp_path / "x.pth"
    model.save_pretrained(directory)
    command = ["--src", str(directory), "--to", "dphubert", "--dst", str(file)]
    assert main(["--from", "native", *command]) == 0
    assert "4 layers" in capsys.readouterr().out
    foreign.same_outputs(load_model(str(file)), model)
    assert main(["--from", "native", *command, "--config", "x.json"]) == 1
    assert "leave --config out" in capsys.readouterr().err
    tiny("armhubert").save_pretrained(directory)
    assert main(["--from", "native", *command]) == 1
    assert "cannot hold this encoder" in capsys.readouterr().err
