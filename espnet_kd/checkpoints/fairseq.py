"""``.pt`` files of fairseq (HuBERT, wav2vec 2.0) and Microsoft (WavLM), read without fairseq.

All three share one layout of names; the students of the Recycle-and-Distill repository do too. Of
fine-tuned files the encoder is read; ``fairseq_ctc`` has their CTC projection.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from espnet_kd.checkpoints.fairseq_ctc import encoder_part, is_fine_tuned
from espnet_kd.checkpoints.names import NameTable
from espnet_kd.checkpoints.unpickle import read_pickle
from espnet_kd.encoder import SpeechEncoder, SpeechEncoderConfig
from espnet_kd.encoder.build import build_encoder
from espnet_kd.encoder.validation import layer_count
from espnet_kd.errors import CheckpointError
from espnet_kd.utils.literals import parse_literal
from espnet_kd.utils.options import problems_of, short
from espnet_kd.utils.weights import as_weights

_LAYER = "encoder.layers.{i}."
_GROUP_NORM = [
    ("feature_extractor.conv_layers.{i}.2.{p}", "feature_extractor.conv_layers.{i}.norm.{p}")
]
_LAYER_NORM = [
    ("feature_extractor.conv_layers.{i}.2.1.{p}", "feature_extractor.conv_layers.{i}.norm.{p}")
]
_COMMON = [
    ("mask_emb", "mask_embedding"),
    ("feature_extractor.conv_layers.{i}.0.{p}", "feature_extractor.conv_layers.{i}.conv.{p}"),
    ("layer_norm.{p}", "feature_projection.norm.{p}"),
    ("post_extract_proj.{p}", "feature_projection.linear.{p}"),
    ("encoder.pos_conv.0.bias", "pos_conv.conv.bias"),
    ("encoder.pos_conv.0.weight_g", "pos_conv.conv.parametrizations.weight.original0"),
    ("encoder.pos_conv.0.weight_v", "pos_conv.conv.parametrizations.weight.original1"),
    (
        "encoder.pos_conv.0.parametrizations.weight.original{j}",
        "pos_conv.conv.parametrizations.weight.original{j}",
    ),
    ("encoder.layer_norm.{p}", "encoder_norm.{p}"),
    *[
        (f"{_LAYER}self_attn.{part}_proj.{{p}}", f"layers.{{i}}.attention.{part}_proj.{{p}}")
        for part in ("q", "k", "v", "out")
    ],
    (_LAYER + "self_attn.grep_linear.{p}", "layers.{i}.attention.gate.linear.{p}"),
    (_LAYER + "self_attn.grep_a", "layers.{i}.attention.gate.const"),
    ("encoder.layers.0.self_attn.relative_attention_bias.weight", "position_bias.embedding.weight"),
    (_LAYER + "self_attn_layer_norm.{p}", "layers.{i}.attention_norm.{p}"),
    (_LAYER + "fc1.{p}", "layers.{i}.feed_forward.intermediate.{p}"),
    (_LAYER + "fc2.{p}", "layers.{i}.feed_forward.output.{p}"),
    (_LAYER + "final_layer_norm.{p}", "layers.{i}.final_norm.{p}"),
    ("proj_head.{i}.lin_proj.{p}", "heads.{i}.{p}"),
]
_DROPPED = (
    r"final_proj\.",
    r"label_embs_concat\Z",
    r"quantizer\.",
    r"project_q\.",
    r"target_glu\.",
)


def name_table(extractor_norm: str) -> NameTable:
    """The table for a front end with ``group_norm`` or ``layer_norm``."""
    norms = _GROUP_NORM if extractor_norm == "group_norm" else _LAYER_NORM
    return NameTable(_COMMON + norms, _DROPPED)


def load_fairseq(
    path: str | os.PathLike[str], config: Any = None, **overrides: Any
) -> SpeechEncoder:
    """Load a fairseq HuBERT / wav2vec 2.0 or a Microsoft WavLM file.

    Raises:
        CheckpointError: not such a file, damaged, or its weights do not fit its configuration.
    """
    if config is not None:
        raise CheckpointError("fairseq files carry their own configuration; leave --config out")
    return from_content(read_pickle(path), str(path), overrides)


def from_content(content: Any, source: str, overrides: Mapping[str, Any]) -> SpeechEncoder:
    """Build from an unpickled file; the configuration comes from its ``cfg`` or ``args``."""
    if not isinstance(content, Mapping) or "model" not in content:
        raise CheckpointError(f"{source} has no `model`: it is not a fairseq or WavLM checkpoint")
    if is_fine_tuned(content):
        content = encoder_part(content, source)
    options, task = _options(content, source)
    weights = as_weights(content["model"], source)
    config = config_from_options(options, weights, source, normalize=bool(task.get("normalize")))
    state = name_table(config.extractor_norm).to_ours(weights, source)
    return build_encoder(config, state, source, overrides)


def config_from_options(
    options: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    source: str,
    *,
    normalize: bool = False,
) -> SpeechEncoderConfig:
    """Our configuration from fairseq's option names.

    Args:
        options: the ``model`` block (HuBERT, wav2vec 2.0) or the flat ``cfg`` (WavLM).
        weights: the weights, which say whether a projection and a mask embedding exist.
        source: file name for messages.
        normalize: whether waveforms are normalised (the task's option).
    """
    _refuse_unsupported(options, source)
    with problems_of(source):
        return _read_options(options, weights, normalize)


def _read_options(
    options: Mapping[str, Any], weights: Mapping[str, Tensor], normalize: bool
) -> SpeechEncoderConfig:
    wavlm = bool(options.get("relative_position_embedding"))
    family = "wavlm" if wavlm else _family(options, weights)
    width, heads = int(options["encoder_embed_dim"]), int(options["encoder_attention_heads"])
    record: dict[str, Any] = {
        "num_heads": heads,
        "head_dim": width // heads,
        "ffn_dim": int(options["encoder_ffn_embed_dim"]),
    }
    values = {
        "family": family,
        "normalize_waveform": normalize or bool(options.get("normalize")),
        "conv_layers": [list(conv) for conv in parse_literal(options["conv_feature_layers"])],
        "extractor_norm": "layer_norm"
        if options.get("extractor_mode") == "layer_norm"
        else "group_norm",
        "conv_bias": bool(options.get("conv_bias", False)),
        "feature_grad_mult": float(options.get("feature_grad_mult", 1.0)),
        "embed_dim": width,
        "feature_projection": "post_extract_proj.weight" in weights,
        "mask_embedding": "mask_emb" in weights,
        "pos_conv_kernel": int(options.get("conv_pos", 128)),
        "pos_conv_groups": int(options.get("conv_pos_groups", 16)),
        "frame_padding": "conv" if family == "wav2vec2" else "chunked",
        "layers": [dict(record) for _ in range(layer_count(options["encoder_layers"]))],
        "norm_first": bool(options.get("layer_norm_first", False)),
        "activation": _activation(options),
        "num_buckets": int(options.get("num_buckets", 320)) if wavlm else 0,
        "max_distance": int(options.get("max_distance", 800)) if wavlm else 800,
        "hidden_states": "transformers",
        "dropout": float(options.get("dropout", 0.1)),
        "attention_dropout": float(options.get("attention_dropout", 0.1)),
        "activation_dropout": float(options.get("activation_dropout", 0.0)),
        "dropout_input": float(options.get("dropout_input", 0.0)),
        "layerdrop": float(options.get("encoder_layerdrop", 0.0)),
    }
    return SpeechEncoderConfig.from_dict(values)


def _options(
    content: Mapping[str, Any], source: str
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    cfg = content.get("cfg")
    if isinstance(cfg, Mapping) and isinstance(cfg.get("model"), Mapping):
        task = cfg.get("task")
        return cfg["model"], task if isinstance(task, Mapping) else {}
    if isinstance(cfg, Mapping) and "encoder_layers" in cfg:
        return cfg, {}
    arguments = content.get("args")
    if isinstance(arguments, argparse.Namespace):
        options = vars(arguments)
        return options, options
    raise CheckpointError(
        f"{source} has no readable `cfg` or `args`, so its architecture is unknown"
    )


def _family(options: Mapping[str, Any], weights: Mapping[str, Tensor]) -> str:
    name = options.get("_name") or options.get("arch")
    named = isinstance(name, str) and name.startswith("wav2vec2")
    if named or any(key.startswith(("quantizer.", "project_q.")) for key in weights):
        return "wav2vec2"
    return "hubert"


def _activation(options: Mapping[str, Any]) -> Any:
    name = options.get("activation_fn", "gelu")
    return "silu" if name == "swish" else name


def _refuse_unsupported(options: Mapping[str, Any], source: str) -> None:
    needed = ("encoder_layers", "encoder_embed_dim", "encoder_ffn_embed_dim",
              "encoder_attention_heads", "conv_feature_layers")  # fmt: skip
    problems = [f"option {name} is missing" for name in needed if name not in options]
    for name, usual in (
        ("layer_type", "transformer"),
        ("pos_conv_depth", 1),
        ("crop_seq_to_multiple", 1),
    ):
        if options.get(name, usual) != usual:
            problems.append(f"{name}: {short(options[name])} is not supported, only {usual!r}")
    if problems:
        raise CheckpointError(
            f"the configuration in {source} cannot be built: {'; '.join(problems)}"
        )
