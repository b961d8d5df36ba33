"""Files of fairseq, Microsoft and the ARMHuBERT repository give back the model they came from."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import torch

from espnet_kd import load_model
from espnet_kd.checkpoints import armhubert, fairseq
from espnet_kd.errors import CheckpointError, ConfigError
from tests.unit.checkpoints import foreign
from tests.unit.checkpoints.foreign import save
from tests.unit.encoder.tiny import tiny, waves


@pytest.mark.parametrize("name", ["hubert_base", "hubert_large", "wav2vec2_base", "wav2vec2_large"])
def test_fairseq(name: str, tmp_path: Path) -> None:
    model = tiny(name, frame_padding="conv" if "wav2vec2" in name else "chunked")
    content = foreign.fairseq_content(model, normalize=model.config.normalize_waveform)
    if "wav2vec2" in name:
        content["model"]["quantizer.vars"] = torch.zeros(1, 4, 3)
        content["model"]["project_q.weight"] = torch.zeros(2, 2)
    loaded = load_model(save(content, tmp_path / "model.pt"))
    assert loaded.config.family == name.partition("_")[0]
    assert loaded.config.normalize_waveform == model.config.normalize_waveform
    assert loaded.config.frame_padding == model.config.frame_padding
    assert loaded.config.feature_grad_mult == 0.1
    assert not loaded.training
    foreign.same_outputs(loaded, model)
    with torch.no_grad():
        assert len(loaded(waves(400)[0]).hidden_states) == 5  # as transformers lists them


def test_old_fairseq_files_carry_a_namespace(tmp_path: Path) -> None:
    model = tiny("wav2vec2_base")
    options = foreign.fairseq_options(model.config)
    del options["_name"]
    arguments = argparse.Namespace(arch="wav2vec2", normalize=False, **options)
    content = {"args": arguments, "cfg": None, "model": foreign.fairseq_weights(model)}
    loaded = load_model(save(content, tmp_path / "model.pt"))
    assert loaded.config.family == "wav2vec2"
    foreign.same_outputs(loaded, model)


@pytest.mark.parametrize("old", [False, True])
def test_models_that_fairseq_fine_tuned(old: bool, tmp_path: Path) -> None:
    model = tiny("hubert_large", frame_padding="chunked")
    inner = foreign.fairseq_content(model, normalize=True)["cfg"]
    if old:
        inner = argparse.Namespace(normalize=True, **inner["model"])
    weights = foreign.fairseq_weights(model)
    weights = {f"w2v_encoder.w2v_model.{name}": tensor for name, tensor in weights.items()}
    weights["w2v_encoder.proj.weight"] = torch.zeros(32, 16)
    weights["w2v_encoder.proj.bias"] = torch.zeros(32)
    options = {"_name": "hubert_ctc", "normalize": True, "w2v_args": inner}
    content = {"cfg": {"model": options, "task": {"normalize": True}}, "model": weights}
    loaded = load_model(save(content, tmp_path / "model.pt"))
    assert loaded.config.normalize_waveform
    assert loaded.config.frame_padding == "chunked"
    foreign.same_outputs(loaded, model)


def test_fairseq_dictionaries_are_read_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny("hubert_base", frame_padding="chunked")
    with monkeypatch.context() as patch:
        dictionary = foreign.foreign_object(patch, "fairseq.data.dictionary.Dictionary")
        content = foreign.fairseq_content(model)
        content["task_state"] = {"dictionaries": [dictionary]}
        file = save(content, tmp_path / "model.pt")
    foreign.same_outputs(load_model(file), model)


@pytest.mark.parametrize("name", ["wavlm_base", "wavlm_large"])
def test_microsoft_wavlm(name: str, tmp_path: Path) -> None:
    model = tiny(name, frame_padding="chunked")
    loaded = load_model(save(foreign.wavlm_content(model), tmp_path / "WavLM.pt"))
    assert loaded.config.family == "wavlm"
    assert loaded.config.normalize_waveform == (name == "wavlm_large")
    foreign.same_outputs(loaded, model)


@pytest.mark.parametrize("with_yaml", [False, True])
@pytest.mark.parametrize("name", ["armhubert", "armwavlm_s", "maskhubert", "starhubert"])
def test_published_students(
    name: str, with_yaml: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, config = tiny(name), None
    with monkeypatch.context() as patch:
        schedule = foreign.foreign_object(patch, "s3prl.optimizers.WarmupLinearSchedule")
        content = foreign.lightning_content(model, not with_yaml, schedule)
        file = save(content, tmp_path / "student.ckpt")
    if with_yaml:
        config = foreign.save_yaml(
            {**foreign.distiller_yaml(model.config), "model": name}, tmp_path / "student.yaml"
        )
    loaded = load_model(file, config=config)
    assert loaded.config.layers == model.config.layers
    assert loaded.config.hidden_states == model.config.hidden_states
    assert loaded.config.layer_grad_scale == model.config.layer_grad_scale
    assert loaded.config.family == (name if with_yaml else model.config.family)
    assert loaded.output_dim == model.output_dim
    foreign.same_outputs(loaded, model)


def test_the_schedule_in_the_optimiser_is_inert(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from espnet_kd.checkpoints.unpickle import InertObject, read_pickle

    with monkeypatch.context() as patch:
        schedule = foreign.foreign_object(patch, "s3prl.optimizers.WarmupLinearSchedule")
        file = save({"schedule": schedule}, tmp_path / "student.ckpt")
    found = read_pickle(file)["schedule"]
    assert type(found) is InertObject
    assert vars(found) == {}


def test_a_missing_reuse_pattern_means_that_every_layer_computes(tmp_path: Path) -> None:
    model = tiny("maskhubert")
    content = foreign.lightning_content(model)
    del content["hyper_parameters"]["cfg"]["distiller"]["reuse_pattern"]
    loaded = load_model(save(content, tmp_path / "x.ckpt"))
    assert {layer.attention for layer in loaded.config.layers} == {"full"}


def test_identity_heads_of_students_as_wide_as_their_teacher(tmp_path: Path) -> None:
    model = tiny("armhubert", head_dim=16)
    loaded = load_model(save(foreign.lightning_content(model), tmp_path / "x.ckpt"))
    assert loaded.config.head_dim == 16
    foreign.same_outputs(loaded, model)


def test_unused_final_projections_are_dropped(tmp_path: Path) -> None:
    model = tiny("starhubert")
    content = foreign.lightning_content(model)
    content["state_dict"]["student_model.final_proj.weight"] = torch.zeros(3, 3)
    foreign.same_outputs(load_model(save(content, tmp_path / "x.ckpt")), model)


def test_overrides_and_dropped_heads(tmp_path: Path) -> None:
    file = save(foreign.lightning_content(tiny("armhubert")), tmp_path / "x.ckpt")
    assert load_model(file).config.reuse_mode == "fixed"
    assert load_model(file, reuse_mode="ref").config.reuse_mode == "ref"
    light = load_model(file, head_dim=0)
    assert light.heads is None
    assert light.config.hidden_states == "layers"
    with pytest.raises(ConfigError, match="reuse_mode is 'both'"):
        load_model(file, reuse_mode="both")


def test_published_files_print_one_line_on_converting(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load_model(save(foreign.lightning_content(tiny("armhubert")), tmp_path / "x.ckpt"))
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert "x.ckpt" in said[0]
    assert "espnet_kd.bin.convert" in said[0]
    tiny("armhubert").save_pretrained(tmp_path / "model")
    load_model(tmp_path / "model")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"reuse_patern": "[True]"}, "unknown key distiller.reuse_patern; did you mean"),
        ({"a": 1, "b": 2}, "2 problem(s)"),
        ({"enable_tr_layer": True}, "enable_tr_layer"),
        ({"layerwise_proj": False}, "layerwise_proj is off"),
        ({"reuse_pattern": "[False, True, True, True]"}, "starts with True"),
        ({"reuse_pattern": "[True, False]"}, "list of 4 booleans"),
        ({"reuse_pattern": "[1, 0, 1, 0]"}, "list of 4 booleans"),
        ({"reuse_pattern": "__import__('os').system('true')"}, "not a list of literals"),
        ({"reuse_pattern": 3}, "list of 4 booleans"),
        ({"conv_feature_layers": "[(8, 10)]"}, "conv_layers[0]"),
        ({"conv_feature_layers": "open('x')"}, "not a list of literals"),
        ({"conv_feature_layers": 5}, "make no sense"),
        ({"encoder_layers": "many"}, "make no sense"),
        ({"encoder_layers": 10**12}, "more than"),
        ({"encoder_attention_heads": 0}, "make no sense"),
        ({"encoder_embed_dim": 15}, "not a multiple"),
        ({"layer_type": "conformer"}, "conformer"),
        ({"pos_conv_depth": 3}, "pos_conv_depth"),
        ({"dropout": "high"}, "make no sense"),
    ],
    ids=str,
)
def test_impossible_distiller_blocks(change, said: str, tmp_path: Path) -> None:
    model = tiny("armhubert")
    document = foreign.distiller_yaml(model.config)
    document["distiller"].update(change)
    config = foreign.save_yaml(document, tmp_path / "student.yaml")
    file = save(foreign.lightning_content(model, with_config=False), tmp_path / "x.ckpt")
    with pytest.raises((ConfigError, CheckpointError)) as caught:
        load_model(file, config=config)
    assert said in str(caught.value)
    assert "student.yaml" in str(caught.value) or "literals" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no `distiller` block"),
        ("[1, 2]", "no `distiller` block"),
        ("distiller: 7", "no `distiller` block"),
        ("distiller: {", "not a readable yaml"),
        ("!!python/object/apply:os.system ['touch CANARY']", "not a readable yaml"),
        ("distiller: !!python/object/new:os.system ['touch CANARY']", "not a readable yaml"),
        ("a: !!timestamp x", "not a readable yaml"),
        ("\udcff", "not a readable yaml"),
        ("distiller: {encoder_layers: 3}", "encoder_embed_dim is missing"),
    ],
    ids=str,
)
def test_impossible_yaml_files(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "student.yaml"
    config.write_bytes(text.encode("utf-8", "surrogateescape"))
    model = tiny("armhubert")
    file = save(foreign.lightning_content(model, with_config=False), tmp_path / "x.ckpt")
    with pytest.raises((ConfigError, CheckpointError), match=said) as caught:
        load_model(file, config=config)
    assert "student.yaml" in str(caught.value)
    assert not (tmp_path / "CANARY").exists()


def test_a_missing_yaml(tmp_path: Path) -> None:
    file = save(foreign.lightning_content(tiny("armhubert"), False), tmp_path / "x.ckpt")
    with pytest.raises(CheckpointError, match="carries no training configuration; give its .yaml"):
        load_model(file)
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        load_model(file, config=tmp_path / "none.yaml")


def test_every_wrong_key_is_listed(tmp_path: Path) -> None:
    content = foreign.lightning_content(tiny("armhubert"))
    state, prefix = content["state_dict"], "student_model."
    del state[prefix + "mask_emb"]
    del state[prefix + "encoder.layers.2.fc1.weight"]
    state[prefix + "encoder.layers.1.fc2.bias"] = torch.zeros(3)
    with pytest.raises(CheckpointError) as caught:
        load_model(save(content, tmp_path / "x.ckpt"))
    text = str(caught.value)
    assert "1 missing" in text  # without the weight there is no mask embedding in the configuration
    assert "layers.2.feed_forward.intermediate.weight" in text
    assert "1 of another shape" in text
    assert "layers.1.feed_forward.output.bias (3,), expected (16,)" in text
    state[prefix + "encoder.layers.0.moe.weight"] = torch.zeros(1)
    state[prefix + "extra"] = torch.zeros(1)
    with pytest.raises(
        CheckpointError, match=r"2 weights with unknown names(.|\n)*moe(.|\n)*extra"
    ):
        load_model(save(content, tmp_path / "x.ckpt"))


def test_weights_of_another_student(tmp_path: Path) -> None:
    # A MaskHuBERT yaml for ARMHuBERT weights: query and key of reusing layers are missing.
    arm, mask = tiny("armhubert"), tiny("maskhubert")
    file = save(foreign.lightning_content(arm, with_config=False), tmp_path / "x.ckpt")
    config = foreign.save_yaml(foreign.distiller_yaml(mask.config), tmp_path / "x.yaml")
    with pytest.raises(CheckpointError, match=r"8 missing(.|\n)*layers.1.attention.k_proj.bias"):
        load_model(file, config=config)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([1, 2], "holds a list, not a checkpoint"),
        ({}, "not a torchaudio"),
        ({"state_dict": {"student_model.x": 3}}, "does not hold weights alone"),
        ({"state_dict": {"other.x": torch.ones(1)}}, "not a torchaudio"),
        ({"model": {"x": torch.ones(1)}, "cfg": None}, "no readable `cfg` or `args`"),
        ({"model": {"x": torch.ones(1)}, "cfg": {"model": {}}}, "encoder_layers is missing"),
        ({"model": 5, "cfg": {"model": {}}}, "holds a int instead of weights"),
        ({"model": {1: 2}, "cfg": {"model": {}}}, "does not hold weights alone"),
        ({1: 2}, "not a torchaudio"),
        ({"state_dict": {1: 2}}, "not a torchaudio"),
    ],
    ids=str,
)
def test_pickles_that_hold_something_else(content, said: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=said) as caught:
        load_model(save(content, tmp_path / "x.pt"))
    assert "x.pt" in str(caught.value)


def test_loaders_of_one_format_refuse_the_others(tmp_path: Path) -> None:
    file = save(foreign.fairseq_content(tiny("hubert_base")), tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="no `state_dict`"):
        armhubert.load_armhubert(file)
    with pytest.raises(CheckpointError, match="leave --config out"):
        fairseq.load_fairseq(file, "x.yaml")
    other = save(foreign.lightning_content(tiny("armhubert")), tmp_path / "x.ckpt")
    with pytest.raises(CheckpointError, match="no `model`"):
        fairseq.load_fairseq(other)
    empty = save({"state_dict": {"teacher_model.x": torch.ones(1)}}, tmp_path / "y.ckpt")
    with pytest.raises(CheckpointError, match=r"no weights that start with student_model\."):
        armhubert.load_armhubert(empty)
