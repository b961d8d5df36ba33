"""transformers' own HubertModel, Wav2Vec2Model and WavLMModel against ours, tiny and seeded."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from espnet_kd import load_model
from espnet_kd.encoder import SpeechEncoder
from espnet_kd.encoder.architectures import architecture
from espnet_kd.errors import CheckpointError, ConfigError
from tests.unit.encoder.tiny import all_close, close, waves

FAMILIES = {"hubert": "Hubert", "wav2vec2": "Wav2Vec2", "wavlm": "WavLM"}


def _class(family: str, suffix: str) -> Any:
    return getattr(transformers, FAMILIES[family] + suffix)


def _config(family: str, norm_first: bool = False, layer_norm: bool = False, **more: Any) -> Any:
    values = {
        "hidden_size": 16,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 24,
        "conv_dim": (8, 8, 9, 10),
        "conv_kernel": (10, 3, 3, 2),
        "conv_stride": (5, 2, 2, 2),
        "conv_bias": layer_norm,
        "num_conv_pos_embeddings": 8,
        "num_conv_pos_embedding_groups": 4,
        "feat_extract_norm": "layer" if layer_norm else "group",
        "do_stable_layer_norm": norm_first,
        "vocab_size": 11,
        "classifier_proj_size": 6,
        "num_labels": 3,
        "num_buckets": 16,
        "max_bucket_distance": 24,
        "codevector_dim": 8,
        "proj_codevector_dim": 8,
        "num_codevectors_per_group": 6,
        "tdnn_dim": (6, 6, 6, 6, 9),
        "xvector_output_dim": 5,
        "output_hidden_size": 16,
    }
    return _class(family, "Config")(**{**values, **more})


def _randomise(model: torch.nn.Module) -> torch.nn.Module:
    """Biases, norms and position gates start at trivial values that would hide mistakes."""
    torch.manual_seed(7)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            sharp = "q_proj" in name or "k_proj" in name
            parameter.add_(torch.randn_like(parameter), alpha=0.4 if sharp else 0.1)
    return model.eval()


def _theirs(family: str, suffix: str = "Model", **options: Any) -> Any:
    attention = options.pop("attention", None)
    config = _config(family, **options)
    if attention is not None:
        config._attn_implementation = attention
    torch.manual_seed(0)
    return _randomise(_class(family, suffix)(config))


def _save(model: Any, folder: Path, safe: bool = True, **options: Any) -> Path:
    model.save_pretrained(folder, safe_serialization=safe, **options)
    return folder


@torch.no_grad()
def _same(model: Any, ours: SpeechEncoder, padded: bool, mask_BT=None) -> None:
    x_BS, lengths_B = waves(1000, 820, 300) if padded else waves(1000, 1000)
    samples_BS = (torch.arange(x_BS.size(1)) < lengths_B[:, None]).long() if padded else None
    theirs = model(
        x_BS,
        attention_mask=samples_BS,
        mask_time_indices=mask_BT,
        output_hidden_states=True,
    )
    output = ours(x_BS, lengths_B if padded else None, mask_BT)
    frames = theirs.hidden_states[0].size(1)
    valid = output.lengths_B.tolist() if padded else [frames] * 2
    assert len(output.hidden_states) == len(theirs.hidden_states) == 4
    for index, count in enumerate(valid):
        all_close(
            [state[index, :count] for state in output.hidden_states],
            [state[index, :count] for state in theirs.hidden_states],
        )
        close(output.last_hidden_state[index, :count], theirs.last_hidden_state[index, :count])


VARIANTS = [
    pytest.param(*values, id="-".join(map(str, values)))
    for values in itertools.product(
        FAMILIES, ("post", "pre"), ("group", "layer"), ("sdpa", "eager")
    )
    if values[0] != "wavlm" or values[3] == "eager"  # WavLM has one implementation
]


@pytest.mark.parametrize(("family", "norm", "extractor", "attention"), VARIANTS)
def test_hidden_states(
    family: str, norm: str, extractor: str, attention: str, tmp_path: Path
) -> None:
    model = _theirs(
        family,
        norm_first=norm == "pre",
        layer_norm=extractor == "layer",
        attention=None if family == "wavlm" else attention,
    )
    ours = load_model(_save(model, tmp_path))
    assert not ours.training
    for padded in (False, True):
        _same(model, ours, padded)
        batch, frames = (3, 1000) if padded else (2, 1000)
        mask_BT = torch.rand(batch, ours.frame_count(frames)) < 0.4
        _same(model, ours, padded, mask_BT)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "options",
    [{"safe": False}, {"max_shard_size": "4KB"}, {"safe": False, "max_shard_size": "4KB"}],
    ids=str,
)
def test_other_weight_files(family: str, options: dict[str, Any], tmp_path: Path) -> None:
    model = _theirs(family)
    folder = _save(model, tmp_path, **options)
    assert not (folder / "model.safetensors").exists()
    if "max_shard_size" in options:
        assert len(list(folder.glob("*-of-*"))) > 1
    _same(model, load_model(folder), padded=True)


def test_old_names_of_the_weight_norm(tmp_path: Path) -> None:
    model = _theirs("hubert")
    state = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): tensor
        for name, tensor in model.state_dict().items()
    }
    model.config.save_pretrained(tmp_path)
    torch.save(state, tmp_path / "pytorch_model.bin")
    _same(model, load_model(tmp_path), padded=True)


TASKS = [
    ("hubert", "ForCTC"),
    ("hubert", "ForSequenceClassification"),
    ("wav2vec2", "ForCTC"),
    ("wav2vec2", "ForPreTraining"),
    ("wav2vec2", "ForXVector"),
    ("wav2vec2", "ForAudioFrameClassification"),
    ("wavlm", "ForCTC"),
    ("wavlm", "ForXVector"),
    ("wavlm", "ForSequenceClassification"),
]


@pytest.mark.parametrize(("family", "suffix"), TASKS, ids=lambda part: part)
def test_encoders_of_task_models(family: str, suffix: str, tmp_path: Path) -> None:
    model = _theirs(family, suffix, use_weighted_layer_sum="Class" in suffix)
    inner = getattr(model, family)
    _same(inner, load_model(_save(model, tmp_path)), padded=True)


@pytest.mark.parametrize("projection_norm", [True, False])
def test_feature_projection_without_norm(projection_norm: bool, tmp_path: Path) -> None:
    model = _theirs("hubert", feat_proj_layer_norm=projection_norm)
    ours = load_model(_save(model, tmp_path))
    assert ours.config.feature_layer_norm == projection_norm
    _same(model, ours, padded=True)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kernel", [5, 8])
def test_odd_and_even_position_kernels(family: str, kernel: int, tmp_path: Path) -> None:
    model = _theirs(family, num_conv_pos_embeddings=kernel)
    _same(model, load_model(_save(model, tmp_path)), padded=True)


@torch.no_grad()
@pytest.mark.parametrize("do_normalize", [True, False])
def test_the_preprocessors_normalisation(do_normalize: bool, tmp_path: Path) -> None:
    model = _theirs("hubert", norm_first=True, layer_norm=True)
    extractor = transformers.Wav2Vec2FeatureExtractor(
        do_normalize=do_normalize, return_attention_mask=True
    )
    extractor.save_pretrained(_save(model, tmp_path))
    ours = load_model(tmp_path)
    assert ours.config.normalize_waveform == do_normalize
    x_BS, lengths_B = waves(1000, 820)
    x_BS = torch.where(x_BS == 0, 0.0, 3 * x_BS + 0.5)
    raw = [row[:n].numpy() for row, n in zip(x_BS, lengths_B.tolist(), strict=True)]
    batch = extractor(raw, sampling_rate=16000, padding=True, return_tensors="pt")
    theirs = model(**batch).last_hidden_state
    output = ours(x_BS, lengths_B)
    for index, count in enumerate(output.lengths_B.tolist()):
        # transformers adds 1e-7 to the variance, we add 1e-5 as fairseq does.
        close(output.last_hidden_state[index, :count], theirs[index, :count], atol=5e-4)


def test_maps_are_those_of_the_eager_implementation(tmp_path: Path) -> None:
    model = _theirs("hubert", attention="eager")
    ours, (x_BS, _) = load_model(_save(model, tmp_path)), waves(1000)
    with torch.no_grad():
        theirs = model(x_BS, output_attentions=True).attentions
        maps = ours(x_BS, return_attention_maps=True).attention_maps
    all_close(maps, list(theirs))


@pytest.mark.parametrize("size", ["base", "large"])
@pytest.mark.parametrize("family", FAMILIES)
def test_full_sizes_have_as_many_parameters(family: str, size: str) -> None:
    large = {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
        "feat_extract_norm": "layer",
        "do_stable_layer_norm": True,
        "conv_bias": family == "wav2vec2",
    }
    options = large if size == "large" else {}
    with torch.device("meta"):
        theirs = _class(family, "Model")(_class(family, "Config")(**options))
        ours = SpeechEncoder(architecture(f"{family}_{size}"))
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())


# config.json may name code and kernels to run; nothing but sizes is read from it.
def test_nothing_in_the_directory_is_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _save(_theirs("hubert"), tmp_path / "model")
    canary = tmp_path / "CANARY"
    code = f"open({str(canary)!r}, 'w').close()\n"
    for name in ("evil.py", "modeling_evil.py", "configuration_evil.py", "__init__.py", "setup.py"):
        (folder / name).write_text(code)
    config = json.loads((folder / "config.json").read_text())
    config.update(
        auto_map={"AutoConfig": "configuration_evil.Evil", "AutoModel": "modeling_evil.Evil"},
        _attn_implementation_internal="evil/kernels",
        _attn_implementation="evil/kernels",
        attn_implementation="evil/kernels:evil",
        custom_pipelines={"evil": {"impl": "evil.Evil"}},
        _name_or_path="evil/evil",
        transformers_version="99.0.0",
        quantization_config={"quant_method": "evil"},
        trust_remote_code=True,
    )
    (folder / "config.json").write_text(json.dumps(config))
    # Whatever imports transformers now fails.
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.syspath_prepend(str(folder))
    assert load_model(folder).config.num_layers == 3
    assert not canary.exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_type": "data2vec-audio"}, "data2vec-audio"),
        ({"hidden_size": None}, "make no sense"),
        ({"hidden_size": "16"}, None),
        ({"hidden_size": 18}, "multiple"),
        ({"num_attention_heads": 0}, "make no sense"),
        ({"num_hidden_layers": 10**10}, "layers are more than"),
        ({"num_hidden_layers": 0}, "layers is empty"),
        ({"intermediate_size": 10**15}, "no size may be more"),
        ({"conv_dim": [8, 8]}, "make no sense"),
        ({"conv_dim": 8}, "make no sense"),
        ({"conv_stride": [5, 2, 2, 0]}, "conv_layers[3]"),
        ({"hidden_act": "mish"}, "activation is 'mish'"),
        ({"hidden_dropout": "a"}, "make no sense"),
        ({"conv_pos_batch_norm": True}, "conv_pos_batch_norm"),
        ({"add_adapter": True}, "adapters"),
        ({"num_hidden_layers": 2}, "unexpected"),
        ({"num_hidden_layers": 4}, "16 missing"),
        ({"intermediate_size": 25}, "of another shape"),
    ],
    ids=str,
)
def test_impossible_configurations(
    change: dict[str, Any], said: str | None, tmp_path: Path
) -> None:
    folder = _save(_theirs("hubert"), tmp_path / "bad_model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    if said is None:
        load_model(folder)
        return
    with pytest.raises((CheckpointError, ConfigError)) as caught:
        load_model(folder)
    assert said in str(caught.value)
    assert "bad_model" in str(caught.value)


@pytest.mark.parametrize("key", ["hidden_size", "conv_dim", "num_hidden_layers", "model_type"])
def test_missing_keys(key: str, tmp_path: Path) -> None:
    folder = _save(_theirs("hubert"), tmp_path)
    config = json.loads((folder / "config.json").read_text())
    del config[key]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load_model(folder)


def test_directories_with_files_missing(tmp_path: Path) -> None:
    folder = _save(_theirs("hubert"), tmp_path / "a", max_shard_size="4KB")
    shard = sorted(folder.glob("*-of-*"))[0]
    kept = shard.read_bytes()
    shard.unlink()
    with pytest.raises(CheckpointError, match=f"{shard.name} does not exist"):
        load_model(folder)
    shard.write_bytes(kept[: len(kept) // 2])
    with pytest.raises(CheckpointError, match=f"{shard.name}.*damaged or cut short"):
        load_model(folder)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../../etc/passwd"}}))
    with pytest.raises(CheckpointError, match="not a file beside it"):
        load_model(folder)
    for text in ("{}", '{"weight_map": 3}', '{"weight_map": {"a": 3}}', "[]"):
        index.write_text(text)
        with pytest.raises(CheckpointError):
            load_model(folder)
    index.unlink()
    with pytest.raises(CheckpointError, match=r"neither model\.safetensors nor pytorch_model\.bin"):
        load_model(folder)
