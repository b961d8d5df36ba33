"""Published students of the Recycle-and-Distill repository: ``.ckpt``, with or without ``.yaml``.

The files also hold the teacher and the optimiser; only the student is read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from espnet_kd.checkpoints.fairseq import config_from_options, name_table
from espnet_kd.checkpoints.unpickle import read_pickle
from espnet_kd.encoder import SpeechEncoder, SpeechEncoderConfig
from espnet_kd.encoder.build import build_encoder
from espnet_kd.errors import CheckpointError, ConfigError
from espnet_kd.utils.literals import parse_literal
from espnet_kd.utils.options import problems_of, short, unknown_key
from espnet_kd.utils.weights import as_weights

STUDENT_PREFIX = "student_model."

# The 43 keys of a published `distiller` block, and one that only older blocks have.
KNOWN_KEYS = frozenset(
    [
        "extractor_mode",
        "conv_feature_layers",
        "feature_grad_mult",
        "conv_bias",
        "conv_pos",
        "conv_pos_groups",
        "pos_conv_depth",
        "max_positions",
        "layer_type",
        "encoder_layers",
        "encoder_embed_dim",
        "encoder_ffn_embed_dim",
        "encoder_attention_heads",
        "activation_fn",
        "layer_norm_first",
        "layer_grad_scale",
        "depthwise_conv_kernel_size",
        "attn_type",
        "pos_enc_type",
        "fp16",
        "reuse_pattern",
        "dropout",
        "attention_dropout",
        "activation_dropout",
        "encoder_layerdrop",
        "dropout_input",
        "dropout_features",
        "final_dim",
        "pred_head_final_dim",
        "pred_head_inter_dim",
        "layerwise_proj",
        "pred_layer_id",
        "init_conv_layers",
        "init_encoder_layers",
        "enable_tr_layer",
        "tr_conv1d_kernel",
        "tr_layer_index",
        "tr_reduce_factor",
        "tr_layer_type",
        "checkpoint_activations",
        "required_seq_len_multiple",
        "crop_seq_to_multiple",
        "freeze_student_mask",
        "update_teacher_mask",
    ]
)


def load_armhubert(
    path: str | os.PathLike[str], config: str | os.PathLike[str] | None = None, **overrides: Any
) -> SpeechEncoder:
    """Load a published ``.ckpt``.

    Args:
        path: the checkpoint.
        config: the training ``.yaml``; None takes the copy inside the checkpoint.
        **overrides: configuration fields to change, e.g. ``reuse_mode="ref"``.

    Raises:
        CheckpointError: damaged file, no student in it, or weights that do not fit.
        ConfigError: unknown or impossible options in the ``distiller`` block, all listed.
    """
    return from_content(read_pickle(path), str(path), config, overrides)


def from_content(
    content: Any, source: str, config: str | os.PathLike[str] | None, overrides: Mapping[str, Any]
) -> SpeechEncoder:
    """Build from an unpickled file."""
    if not isinstance(content, Mapping) or not isinstance(content.get("state_dict"), Mapping):
        raise CheckpointError(
            f"{source} has no `state_dict`: it is not a checkpoint of that repository"
        )
    weights = student_weights(content["state_dict"], source)
    document = read_yaml(config) if config is not None else _embedded_document(content, source)
    encoder_config = config_from_yaml(document, weights, source if config is None else str(config))
    state = name_table(encoder_config.extractor_norm).to_ours(weights, source)
    return build_encoder(encoder_config, state, source, overrides)


def student_weights(state: Mapping[str, Any], source: str) -> dict[str, Tensor]:
    """The student's weights with the prefix taken off."""
    weights = {
        name[len(STUDENT_PREFIX) :]: value
        for name, value in state.items()
        if isinstance(name, str) and name.startswith(STUDENT_PREFIX)
    }
    if not weights:
        raise CheckpointError(f"{source} holds no weights that start with {STUDENT_PREFIX}")
    return as_weights(weights, source)


def config_from_yaml(
    document: Any, weights: Mapping[str, Tensor], source: str
) -> SpeechEncoderConfig:
    """Our configuration from a training yaml's ``distiller`` block and its weights."""
    options = document.get("distiller") if isinstance(document, Mapping) else None
    if not isinstance(options, Mapping):
        raise ConfigError(source, ["there is no `distiller` block in it"])
    problems = [
        unknown_key(f"distiller.{key!s:.80}", KNOWN_KEYS)
        for key in options
        if key not in KNOWN_KEYS
    ]
    if options.get("enable_tr_layer"):
        problems.append(
            "distiller.enable_tr_layer is on, which is not supported; no published model uses it"
        )
    has_heads = any(name.startswith("proj_head.") for name in weights)
    if has_heads and options.get("layerwise_proj") is False:
        problems.append("distiller.layerwise_proj is off; only one head per layer is supported")
    if problems:
        raise ConfigError(source, problems)
    config = config_from_options(options, weights, source)
    heads = _has_heads(options, weights)
    with problems_of(source):
        return config.replace(
            family=document.get("model") or "armhubert",
            frame_padding="conv",
            layers=_layers(config, options),
            layer_grad_scale=bool(options.get("layer_grad_scale", False)),
            hidden_states="heads" if heads else "layers",
            head_dim=int(options["pred_head_final_dim"]) if heads else 0,
        )


def read_yaml(path: str | os.PathLike[str]) -> Any:
    """A yaml file, read safely.

    Raises:
        ConfigError: the file is missing or no yaml.
    """
    try:
        return yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except Exception as error:  # pyyaml's own errors are not all that odd files make it raise
        raise ConfigError(str(path), [f"not a readable yaml: {error}"]) from None


def _has_heads(options: Mapping[str, Any], weights: Mapping[str, Tensor]) -> bool:
    """Heads whose width equals the student's are identities without weights."""
    if any(name.startswith("proj_head.") for name in weights):
        return True
    return bool(options.get("pred_head_final_dim") == options["encoder_embed_dim"])


def _layers(config: SpeechEncoderConfig, options: Mapping[str, Any]) -> list[dict[str, Any]]:
    pattern = parse_literal(options.get("reuse_pattern") or [True] * config.num_layers)
    valid = isinstance(pattern, list) and all(isinstance(item, bool) for item in pattern)
    if not valid or len(pattern) != config.num_layers or not pattern[0]:
        raise ConfigError(
            "reuse_pattern",
            [
                f"distiller.reuse_pattern {short(pattern)} must be a list of "
                f"{config.num_layers} booleans (True = computes its map) that starts with True"
            ],
        )
    records = config.to_dict()["layers"]
    for record, computes in zip(records, pattern, strict=True):
        record["attention"] = "full" if computes else "reused"
    return list(records)


def _embedded_document(content: Mapping[str, Any], source: str) -> Any:
    parameters = content.get("hyper_parameters")
    cfg = parameters.get("cfg") if isinstance(parameters, Mapping) else None
    if not isinstance(cfg, Mapping):
        raise CheckpointError(
            f"{source} carries no training configuration; give its .yaml file as well"
        )
    model = parameters.get("model") if isinstance(parameters, Mapping) else None
    return {**cfg, "model": cfg.get("model") or model}
