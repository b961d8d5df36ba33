"""Hugging Face directories of HubertModel, Wav2Vec2Model and WavLMModel, task heads allowed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from espnet_kd.checkpoints.names import NameTable
from espnet_kd.checkpoints.unpickle import read_pickle
from espnet_kd.encoder import SpeechEncoder, SpeechEncoderConfig
from espnet_kd.encoder.build import build_encoder
from espnet_kd.encoder.validation import layer_count
from espnet_kd.errors import CheckpointError
from espnet_kd.utils.model_directory import read_json, read_safetensors
from espnet_kd.utils.options import problems_of, short
from espnet_kd.utils.weights import as_weights

MODEL_TYPES = ("hubert", "wav2vec2", "wavlm")
_CONV = "feature_extractor.conv_layers.{i}."
_LAYER = "encoder.layers.{i}."
_FFN = _LAYER + "feed_forward."
_POS = "encoder.pos_conv_embed.conv."
_OUR_POS = "pos_conv.conv.parametrizations.weight.original"

TABLE = NameTable(
    [
        ("masked_spec_embed", "mask_embedding"),
        (_CONV + "conv.{p}", _CONV + "conv.{p}"),
        (_CONV + "layer_norm.{p}", _CONV + "norm.{p}"),
        ("feature_projection.layer_norm.{p}", "feature_projection.norm.{p}"),
        ("feature_projection.projection.{p}", "feature_projection.linear.{p}"),
        (_POS + "bias", "pos_conv.conv.bias"),
        (_POS + "parametrizations.weight.original{j}", _OUR_POS + "{j}"),
        (_POS + "weight_g", _OUR_POS + "0"),
        (_POS + "weight_v", _OUR_POS + "1"),
        ("encoder.layer_norm.{p}", "encoder_norm.{p}"),
        *[
            (f"{_LAYER}attention.{part}_proj.{{p}}", f"layers.{{i}}.attention.{part}_proj.{{p}}")
            for part in ("q", "k", "v", "out")
        ],
        (_LAYER + "attention.gru_rel_pos_linear.{p}", "layers.{i}.attention.gate.linear.{p}"),
        (_LAYER + "attention.gru_rel_pos_const", "layers.{i}.attention.gate.const"),
        ("encoder.layers.0.attention.rel_attn_embed.weight", "position_bias.embedding.weight"),
        (_LAYER + "layer_norm.{p}", "layers.{i}.attention_norm.{p}"),
        (_FFN + "intermediate_dense.{p}", "layers.{i}.feed_forward.intermediate.{p}"),
        (_FFN + "output_dense.{p}", "layers.{i}.feed_forward.output.{p}"),
        (_LAYER + "final_layer_norm.{p}", "layers.{i}.final_norm.{p}"),
    ],
    dropped=(
        r"lm_head\.", r"quantizer\.", r"project_(hid|q)\.", r"projector\.", r"classifier\.",
        r"layer_weights\Z", r"tdnn\.", r"feature_extractor\.(weight|bias)\Z", r"objective\.",
    ),
)  # fmt: skip


def is_huggingface(folder: Path) -> bool:
    """Whether a directory's config.json names a model type of ours."""
    return read_json(folder / "config.json").get("model_type") in MODEL_TYPES


def load_huggingface(
    path: str | os.PathLike[str], config: Any = None, **overrides: Any
) -> SpeechEncoder:
    """Load a Hugging Face directory in eval mode, without importing transformers.

    Raises:
        CheckpointError: files missing or damaged, or an architecture that is not one of the three.
    """
    if config is not None:
        raise CheckpointError(
            "a Hugging Face directory carries its own config.json; leave --config out"
        )
    folder = Path(path)
    source = read_json(folder / "config.json")
    weights = _without_prefix(_read_weights(folder))
    encoder_config = config_from_transformers(source, weights, str(folder), _normalizes(folder))
    return build_encoder(
        encoder_config, TABLE.to_ours(weights, str(folder)), str(folder), overrides
    )


def config_from_transformers(
    source: Mapping[str, Any], weights: Mapping[str, Tensor], where: str, normalize: bool
) -> SpeechEncoderConfig:
    """Our configuration from the keys of a transformers config; no other key is read."""
    _refuse_unsupported(source, where)
    with problems_of(f"{where}/config.json"):
        return _read_options(source, weights, normalize)


def _read_options(
    source: Mapping[str, Any], weights: Mapping[str, Tensor], normalize: bool
) -> SpeechEncoderConfig:
    wavlm = source["model_type"] == "wavlm"
    width, heads = int(source["hidden_size"]), int(source["num_attention_heads"])
    record = {
        "num_heads": heads,
        "head_dim": width // heads,
        "ffn_dim": int(source["intermediate_size"]),
    }
    convs = zip(source["conv_dim"], source["conv_kernel"], source["conv_stride"], strict=True)
    values = {
        "family": source["model_type"],
        "normalize_waveform": normalize,
        "conv_layers": [list(conv) for conv in convs],
        "extractor_norm": "group_norm"
        if source.get("feat_extract_norm", "group") == "group"
        else "layer_norm",
        "conv_bias": bool(source.get("conv_bias", False)),
        "embed_dim": width,
        "feature_layer_norm": "feature_projection.layer_norm.weight" in weights,
        "mask_embedding": "masked_spec_embed" in weights,
        "pos_conv_kernel": int(source.get("num_conv_pos_embeddings", 128)),
        "pos_conv_groups": int(source.get("num_conv_pos_embedding_groups", 16)),
        "layers": [record] * layer_count(source["num_hidden_layers"]),
        "norm_first": bool(source.get("do_stable_layer_norm", False)),
        "activation": source.get("hidden_act", "gelu"),
        "layer_norm_eps": float(source.get("layer_norm_eps", 1e-5)),
        "num_buckets": int(source.get("num_buckets", 320)) if wavlm else 0,
        "max_distance": int(source.get("max_bucket_distance", 800)) if wavlm else 800,
        "hidden_states": "transformers",
        "dropout": float(source.get("hidden_dropout", 0.1)),
        "attention_dropout": float(source.get("attention_dropout", 0.1)),
        "activation_dropout": float(source.get("activation_dropout", 0.1)),
        "dropout_input": float(source.get("feat_proj_dropout", 0.0)),
        "layerdrop": float(source.get("layerdrop", 0.0)),
    }
    return SpeechEncoderConfig.from_dict(values)


def _read_weights(folder: Path) -> dict[str, Tensor]:
    for name in ("model.safetensors", "pytorch_model.bin"):
        index = folder / f"{name}.index.json"
        if index.is_file():
            shards = [_inside(folder, shard) for shard in _shards(index)]
            return {key: t for shard in shards for key, t in _read_file(shard).items()}
        if (folder / name).is_file():
            return _read_file(folder / name)
    raise CheckpointError(
        f"{folder} has neither model.safetensors nor pytorch_model.bin; download the weights too"
    )


def _read_file(file: Path) -> dict[str, Tensor]:
    if file.suffix == ".safetensors":
        return read_safetensors(file)
    return as_weights(read_pickle(file), str(file))


def _shards(index: Path) -> list[str]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict):
        raise CheckpointError(f"{index} has no `weight_map`; download it again")
    return sorted({str(name) for name in weight_map.values()})


def _inside(folder: Path, name: str) -> Path:
    if Path(name).name != name:
        raise CheckpointError(
            f"the index of {folder} names {name!r}, which is not a file beside it"
        )
    return folder / name


def _without_prefix(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Task models keep the encoder under its model type's name."""
    prefixes = tuple(f"{name}." for name in MODEL_TYPES)
    if not any(name.startswith(prefixes) for name in weights):
        return dict(weights)
    return {
        name.split(".", 1)[1] if name.startswith(prefixes) else name: t
        for name, t in weights.items()
    }


def _normalizes(folder: Path) -> bool:
    """Whether waveforms are normalised; as in transformers, a bare model normalises nothing."""
    file = folder / "preprocessor_config.json"
    return bool(read_json(file).get("do_normalize", False)) if file.is_file() else False


def _refuse_unsupported(source: Mapping[str, Any], where: str) -> None:
    problems = []
    if source.get("model_type") not in MODEL_TYPES:
        problems.append(
            f"model_type {short(source.get('model_type'))} is not one of {', '.join(MODEL_TYPES)}"
        )
    if source.get("conv_pos_batch_norm"):
        problems.append("conv_pos_batch_norm is not supported")
    if source.get("add_adapter") or source.get("adapter_attn_dim"):
        problems.append("models with adapters are not supported")
    needed = ("hidden_size", "num_attention_heads", "intermediate_size", "num_hidden_layers",
              "conv_dim", "conv_kernel", "conv_stride")  # fmt: skip
    problems += [f"{name} is missing" for name in needed if name not in source]
    if problems:
        raise CheckpointError(f"{where}/config.json cannot be built: {'; '.join(problems)}")
