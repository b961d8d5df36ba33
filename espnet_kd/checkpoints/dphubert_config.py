"""The way from the configuration of a DPHuBERT or DPWavLM checkpoint to ours, and back.

Source: spec dphubert.md 2. Lists have one entry per layer. The entry of a removed block means
nothing there; it is read as 0 and written as 0 (or as no heads). What only training needs and that
layout does not know (scaling of gradients, the mask embedding) is not written.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from espnet_kd.checkpoints.dphubert_options import DPHuBERTOptions, PlainOptions, WavLMOptions
from espnet_kd.encoder import SpeechEncoderConfig
from espnet_kd.encoder.config import HUBERT_CONV_LAYERS
from espnet_kd.utils.options import problems_of, short

# Same meaning, another name.
SAME = {
    "extractor_mode": "extractor_norm",
    "extractor_conv_layer_config": "conv_layers",
    "extractor_conv_bias": "conv_bias",
    "encoder_embed_dim": "embed_dim",
    "encoder_projection_dropout": "dropout_input",
    "encoder_pos_conv_kernel": "pos_conv_kernel",
    "encoder_pos_conv_groups": "pos_conv_groups",
    "encoder_attention_dropout": "attention_dropout",
    "encoder_ff_interm_dropout": "activation_dropout",
    "encoder_dropout": "dropout",
    "encoder_layer_norm_first": "norm_first",
    "encoder_layer_drop": "layerdrop",
    "normalize_waveform": "normalize_waveform",
}
SAME_OF_WAVLM = {"encoder_num_buckets": "num_buckets", "encoder_max_distance": "max_distance"}


def to_ours(options: DPHuBERTOptions, source: str) -> SpeechEncoderConfig:
    """Our configuration of the same encoder.

    Raises:
        ConfigError: values that make no sense.
    """
    wavlm = isinstance(options, WavLMOptions)
    same = {**SAME, **SAME_OF_WAVLM} if wavlm else SAME
    values = {ours: getattr(options, theirs) for theirs, ours in same.items()}
    values["conv_layers"] = options.extractor_conv_layer_config or HUBERT_CONV_LAYERS
    fixed: dict[str, Any] = {
        "family": "dpwavlm" if wavlm else "dphubert",
        "channel_scale": True,
        "mask_embedding": False,
        "frame_padding": "conv",
        "hidden_states": "features",
        "layers": [_layer(options, index) for index in range(options.encoder_num_layers)],
    }
    if isinstance(options, WavLMOptions):
        fixed["total_heads"] = options.encoder_total_num_heads[0]
    with problems_of(source):
        return SpeechEncoderConfig.from_dict({**values, **fixed})


def _layer(options: DPHuBERTOptions, index: int) -> dict[str, Any]:
    heads, width, kept = _heads(options, index)
    present = options.encoder_use_attention[index]
    units = options.encoder_ff_interm_features[index]
    return {
        "attention": "full" if present else "none",
        "num_heads": heads if present else 0,
        "head_dim": width,
        "kept_heads": kept if present else None,
        "ffn_dim": units if options.encoder_use_feed_forward[index] else 0,
    }


def _heads(options: DPHuBERTOptions, index: int) -> tuple[int, int, list[int] | None]:
    """Number and width of a layer's heads, and which of all are left, None if all are."""
    if isinstance(options, WavLMOptions):
        kept, total = options.encoder_remaining_heads[index], options.encoder_total_num_heads[index]
        width = options.encoder_embed_dim // total
        return len(kept), width, None if kept == list(range(total)) else kept
    assert isinstance(options, PlainOptions)
    return options.encoder_num_heads[index], options.encoder_head_dim, None


# --- Writing
def from_ours(config: SpeechEncoderConfig) -> dict[str, Any]:
    """The published configuration of an encoder for which :func:`not_expressible` is empty."""
    layers = config.layers
    has_attention = [layer.attention == "full" for layer in layers]
    values: dict[str, Any] = {theirs: getattr(config, ours) for theirs, ours in SAME.items()}
    values.update(
        encoder_num_layers=len(layers),
        aux_num_out=None,
        encoder_use_attention=has_attention,
        encoder_use_feed_forward=[layer.ffn_dim > 0 for layer in layers],
        encoder_ff_interm_features=[layer.ffn_dim for layer in layers],
    )
    counts = [layer.num_heads * on for layer, on in zip(layers, has_attention, strict=True)]
    if not config.num_buckets:
        widths = [layer.head_dim for layer in layers if layer.attention == "full"]
        head_dim = widths[0] if widths else layers[0].head_dim
        values.update(encoder_num_heads=counts, encoder_head_dim=head_dim)
        return dataclasses.asdict(PlainOptions(**values))
    values.update({theirs: getattr(config, ours) for theirs, ours in SAME_OF_WAVLM.items()})
    kept = [(layer.kept_heads or range(n))[:n] for layer, n in zip(layers, counts, strict=True)]
    values["encoder_total_num_heads"] = [config.bias_heads] * len(layers)
    values["encoder_remaining_heads"] = [list(heads) for heads in kept]
    return dataclasses.asdict(WavLMOptions(**values))


def not_expressible(config: SpeechEncoderConfig) -> list[str]:
    """What of an encoder the published layout has no place for, as sentences."""
    return [*_fixed_problems(config), *_layer_problems(config)]


def _fixed_problems(config: SpeechEncoderConfig) -> Iterator[str]:
    if config.head_dim:
        yield "projection heads (head_dim); load the model with head_dim=0 to drop them"
    if config.feature_norm_channels:
        yield (
            "the exact feature LayerNorm (feature_norm_channels); prune again without exact "
            "statistics"
        )
    for name in ("feature_projection", "feature_layer_norm"):
        if not getattr(config, name):
            yield f"an encoder without {name}"
    for name, only in (("activation", "gelu"), ("layer_norm_eps", 1e-5), ("sample_rate", 16000)):
        if getattr(config, name) != only:
            yield f"{name} {getattr(config, name)}; only {only}"


def _layer_problems(config: SpeechEncoderConfig) -> Iterator[str]:
    with_attention = [layer for layer in config.layers if layer.attention != "none"]
    if any(layer.attention == "reused" for layer in config.layers):
        yield "layers that reuse an attention map"
    if any(layer.time_reduction > 1 for layer in config.layers):
        yield "time reduction"
    widths = sorted({layer.head_dim for layer in with_attention})
    if len(widths) > 1:
        yield f"heads of different widths ({short(widths)}) in one model"
    if config.num_buckets and config.layers[0].attention == "none":
        yield "a position bias (WavLM) whose first layer has no attention (Q15)"
    if config.num_buckets and any(w * config.bias_heads != config.embed_dim for w in widths):
        yield (
            f"a position bias (WavLM) with heads whose width is not embed_dim / {config.bias_heads}"
        )
