"""torchaudio's wav2vec 2.0, HuBERT and WavLM: a plain state dict, options read off the weights.

A ``.json`` file with torchaudio's keyword arguments may say what weights cannot.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from espnet_kd.checkpoints.names import NameTable
from espnet_kd.checkpoints.unpickle import read_pickle
from espnet_kd.encoder import SpeechEncoder, SpeechEncoderConfig
from espnet_kd.encoder.build import build_encoder
from espnet_kd.errors import CheckpointError
from espnet_kd.utils.literals import parse_literal
from espnet_kd.utils.model_directory import read_json, read_safetensors
from espnet_kd.utils.options import problems_of

_T = "encoder.transformer."
_LAYER = _T + "layers.{i}."
_OUR_POS = "pos_conv.conv.parametrizations.weight.original"
_CONV = "feature_extractor.conv_layers.{i}."

ENCODER_NAMES = [
    (_CONV + "conv.{p}", _CONV + "conv.{p}"),
    (_CONV + "layer_norm.{p}", _CONV + "norm.{p}"),
    ("encoder.feature_projection.layer_norm.{p}", "feature_projection.norm.{p}"),
    ("encoder.feature_projection.projection.{p}", "feature_projection.linear.{p}"),
    (_T + "pos_conv_embed.conv.bias", "pos_conv.conv.bias"),
    (_T + "pos_conv_embed.conv.parametrizations.weight.original{j}", _OUR_POS + "{j}"),
    (_T + "pos_conv_embed.conv.weight_g", _OUR_POS + "0"),
    (_T + "pos_conv_embed.conv.weight_v", _OUR_POS + "1"),
    (_T + "layer_norm.{p}", "encoder_norm.{p}"),
    *[
        (f"{_LAYER}attention.{part}_proj.{{p}}", f"layers.{{i}}.attention.{part}_proj.{{p}}")
        for part in ("q", "k", "v", "out")
    ],
    (_LAYER + "attention.gru_rel_pos_linear.{p}", "layers.{i}.attention.gate.linear.{p}"),
    (_LAYER + "attention.gru_rel_pos_const", "layers.{i}.attention.gate.const"),
    (_T + "layers.0.attention.rel_attn_embed.weight", "position_bias.embedding.weight"),
    (_LAYER + "layer_norm.{p}", "layers.{i}.attention_norm.{p}"),
    (_LAYER + "feed_forward.intermediate_dense.{p}", "layers.{i}.feed_forward.intermediate.{p}"),
    (_LAYER + "feed_forward.output_dense.{p}", "layers.{i}.feed_forward.output.{p}"),
    (_LAYER + "final_layer_norm.{p}", "layers.{i}.final_norm.{p}"),
]
"""Theirs and ours; DPHuBERT's encoder has the same names."""

TABLE = NameTable(
    [("mask_generator.mask_embedding", "mask_embedding"), *ENCODER_NAMES],
    dropped=(r"aux\.", r"logit_generator\."),
)

# Strides are not weights: by kernel, the ones of every published model.
_STRIDES = {10: 5, 3: 2, 2: 2}
_HEAD_DIM = 64


def load_torchaudio(
    path: str | os.PathLike[str], config: str | os.PathLike[str] | None = None, **overrides: Any
) -> SpeechEncoder:
    """Load a state dict saved from a torchaudio model (``.pt``, ``.pth`` or ``.safetensors``).

    Args:
        path: the file.
        config: a JSON file with torchaudio's keyword arguments; needed if heads are not 64 wide.
        **overrides: configuration fields to change.

    Raises:
        CheckpointError: not such a state dict, or options that cannot be read off it.
    """
    file = Path(path)
    content = read_safetensors(file) if file.suffix == ".safetensors" else read_pickle(file)
    options = {} if config is None else read_json(Path(config))
    return from_content(content, str(path), options, overrides)


def from_content(
    content: Any, source: str, options: Mapping[str, Any], overrides: Mapping[str, Any]
) -> SpeechEncoder:
    """Build from a state dict."""
    if not isinstance(content, Mapping) or "encoder.transformer.layer_norm.weight" not in _plain(
        content
    ):
        raise CheckpointError(
            f"{source} is not a torchaudio wav2vec 2.0, HuBERT or WavLM state dict"
        )
    weights = _split_projections(_plain(content))
    with problems_of(source):
        config = _config(weights, options, source)
    return build_encoder(config, TABLE.to_ours(weights, source), source, overrides)


def _plain(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """Pre-training wrappers keep the encoder under ``wav2vec2.``, pipelines under ``model.``."""
    nested = content.get("state_dict", content)
    state = nested if isinstance(nested, Mapping) else {}
    return {
        re.sub(r"\A(wav2vec2|model)\.", "", name): t
        for name, t in state.items()
        if isinstance(t, Tensor) and isinstance(name, str)
    }


def _split_projections(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """WavLM layers store query, key and value in one tensor."""
    split: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        match = re.match(
            r"(.*\.attention)\.attention\.(?:in_proj_(weight|bias)|out_proj\.(weight|bias))\Z", name
        )
        if match is None:
            split[name] = tensor
        elif match.group(3):
            split[f"{match.group(1)}.out_proj.{match.group(3)}"] = tensor
        else:
            for part, piece in zip("qkv", torch.chunk(tensor, 3), strict=True):
                split[f"{match.group(1)}.{part}_proj.{match.group(2)}"] = piece
    return split


def _config(
    weights: Mapping[str, Tensor], options: Mapping[str, Any], source: str
) -> SpeechEncoderConfig:
    layer_norm = "feature_extractor.conv_layers.1.layer_norm.weight" in weights
    width = weights[_T + "layer_norm.weight"].numel()
    kernel = _position_kernel(weights, source)
    wavlm = _T + "layers.0.attention.rel_attn_embed.weight" in weights
    values = {
        "family": "wavlm" if wavlm else "hubert",
        "normalize_waveform": bool(options.get("normalize_waveform", layer_norm)),
        "conv_layers": _conv_layers(weights, options, source),
        "extractor_norm": "layer_norm" if layer_norm else "group_norm",
        "conv_bias": "feature_extractor.conv_layers.0.conv.bias" in weights,
        "embed_dim": width,
        "mask_embedding": "mask_generator.mask_embedding" in weights,
        "pos_conv_kernel": kernel.size(2),
        "pos_conv_groups": width // kernel.size(1),
        "layers": _layers(weights, options, width, source),
        "norm_first": bool(options.get("encoder_layer_norm_first", layer_norm)),
        "num_buckets": weights[_T + "layers.0.attention.rel_attn_embed.weight"].size(0)
        if wavlm
        else 0,
        "max_distance": int(options.get("encoder_max_distance", 800)),
        "hidden_states": "transformers",
        "dropout": float(options.get("encoder_dropout", 0.1)),
        "attention_dropout": float(options.get("encoder_attention_dropout", 0.1)),
        "activation_dropout": float(options.get("encoder_ff_interm_dropout", 0.0)),
        "dropout_input": float(options.get("encoder_projection_dropout", 0.1)),
        "layerdrop": float(options.get("encoder_layer_drop", 0.0)),
    }
    return SpeechEncoderConfig.from_dict(values)


def _position_kernel(weights: Mapping[str, Tensor], source: str) -> Tensor:
    prefix = _T + "pos_conv_embed.conv."
    for name in ("weight_v", "parametrizations.weight.original1"):
        if prefix + name in weights:
            return weights[prefix + name]
    raise CheckpointError(f"{source} has no positional convolution ({prefix}weight_v)")


def _conv_layers(
    weights: Mapping[str, Tensor], options: Mapping[str, Any], source: str
) -> list[list[int]]:
    given = options.get("extractor_conv_layer_config")
    if given is not None:
        return [list(conv) for conv in parse_literal(given)]
    shapes: list[list[int]] = []
    while f"feature_extractor.conv_layers.{len(shapes)}.conv.weight" in weights:
        weight = weights[f"feature_extractor.conv_layers.{len(shapes)}.conv.weight"]
        shapes.append([weight.size(0), weight.size(2)])
    if any(kernel not in _STRIDES for _, kernel in shapes):
        raise CheckpointError(
            f"the strides of {source} cannot be told from its kernels; give --config with "
            "extractor_conv_layer_config"
        )
    return [[channels, kernel, _STRIDES[kernel]] for channels, kernel in shapes]


def _layers(
    weights: Mapping[str, Tensor], options: Mapping[str, Any], width: int, source: str
) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    const = weights.get(_T + "layers.0.attention.gru_rel_pos_const")
    heads = options.get("encoder_num_heads") or (const.size(1) if const is not None else None)
    if heads is None and width % _HEAD_DIM:
        raise CheckpointError(
            f"the heads of {source} cannot be told from its weights; give --config"
        )
    while f"{_T}layers.{len(records)}.layer_norm.weight" in weights:
        prefix = f"{_T}layers.{len(records)}."
        count = int(heads or width // _HEAD_DIM)
        units = weights[prefix + "feed_forward.intermediate_dense.weight"].size(0)
        records.append({"num_heads": count, "head_dim": width // count, "ffn_dim": units})
    return records


__all__ = ["TABLE", "from_content", "load_torchaudio"]
