"""The ``config`` of a DPHuBERT or DPWavLM checkpoint: its keys, and the way from and to ours.

Source: spec dphubert.md 2. Lists have one entry per layer. The entry of a removed block means
nothing there; we read it as 0 and write 0 (or no heads).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from espnet_kd.encoder import SpeechEncoderConfig
from espnet_kd.encoder.config import EXTRACTOR_NORMS, HUBERT_CONV_LAYERS
from espnet_kd.errors import ConfigError
from espnet_kd.utils.options import from_mapping, problems_of, short

# Same meaning, another name.
SAME = {
    "extractor_mode": "extractor_norm",
    "extractor_conv_layer_config": "conv_layers",
    "extractor_conv_bias": "conv_bias",
    "encoder_embed_dim": "embed_dim",
    "encoder_projection_dropout": "dropout_input",
    "encoder_pos_conv_kernel": "pos_conv_kernel",
    "encoder_pos_conv_groups": "pos_conv_groups",
    "encoder_num_layers": "num_layers",
    "encoder_attention_dropout": "attention_dropout",
    "encoder_ff_interm_dropout": "activation_dropout",
    "encoder_dropout": "dropout",
    "encoder_layer_norm_first": "norm_first",
    "encoder_layer_drop": "layerdrop",
    "normalize_waveform": "normalize_waveform",
}
SAME_OF_WAVLM = {"encoder_num_buckets": "num_buckets", "encoder_max_distance": "max_distance"}
DERIVED = ("num_layers",)


@dataclass(kw_only=True)
class DPHuBERTOptions:
    """What HuBERT, wav2vec 2.0 and WavLM have in common; names and types are the publishers'."""

    extractor_mode: str
    extractor_conv_layer_config: list[list[int]] | None
    extractor_conv_bias: bool
    encoder_embed_dim: int
    encoder_projection_dropout: float
    encoder_pos_conv_kernel: int
    encoder_pos_conv_groups: int
    encoder_num_layers: int
    encoder_use_attention: list[bool]
    encoder_use_feed_forward: list[bool]
    encoder_attention_dropout: float
    encoder_ff_interm_features: list[int]
    encoder_ff_interm_dropout: float
    encoder_dropout: float
    encoder_layer_norm_first: bool
    encoder_layer_drop: float
    aux_num_out: int | None
    normalize_waveform: bool
    extractor_prune_conv_channels: bool = False
    encoder_prune_attention_heads: bool = False
    encoder_prune_attention_layer: bool = False
    encoder_prune_feed_forward_intermediate: bool = False
    encoder_prune_feed_forward_layer: bool = False

    @property
    def units(self) -> list[str]:
        """Units that have gates, by our names."""
        flags = {
            "conv": self.extractor_prune_conv_channels,
            "head": self.encoder_prune_attention_heads,
            "interm": self.encoder_prune_feed_forward_intermediate,
            "attlayer": self.encoder_prune_attention_layer,
            "ffnlayer": self.encoder_prune_feed_forward_layer,
        }
        return [unit for unit, on in flags.items() if on]


@dataclass(kw_only=True)
class PlainOptions(DPHuBERTOptions):
    """HuBERT and wav2vec 2.0: numbers of heads."""

    encoder_num_heads: list[int]
    encoder_head_dim: int


@dataclass(kw_only=True)
class WavLMOptions(DPHuBERTOptions):
    """WavLM: which heads are left, as indexes into the position bias."""

    encoder_total_num_heads: list[int]
    encoder_remaining_heads: list[list[int]]
    encoder_num_buckets: int
    encoder_max_distance: int


# --- Reading
def read_options(config: Any, source: str) -> DPHuBERTOptions:
    """Check a published configuration.

    Raises:
        ConfigError: unknown and missing keys, wrong types, lists that do not have one entry per
            layer, and what no encoder of ours can be; all listed.
    """
    if not isinstance(config, Mapping):
        raise ConfigError(source, [f"its `config` is {short(config)}, not a mapping of options"])
    cls = WavLMOptions if "encoder_remaining_heads" in config else PlainOptions
    problems = list(_length_problems(config))
    try:
        options: DPHuBERTOptions = from_mapping(cls, config, subject=source)
    except ConfigError as error:
        raise ConfigError(source, [*error.problems, *problems]) from None
    problems += _value_problems(options)
    if problems:
        raise ConfigError(source, problems)
    return options


def _length_problems(config: Mapping[str, Any]) -> Iterator[str]:
    layers = config.get("encoder_num_layers")
    names = [f.name for cls in (PlainOptions, WavLMOptions) for f in dataclasses.fields(cls)]
    for name in dict.fromkeys(names):
        value = config.get(name)
        per_layer = name.startswith("encoder_") and isinstance(value, (list, tuple))
        if per_layer and len(value) != layers:
            yield f"{name} has {len(value)} entries; encoder_num_layers is {short(layers)}"


def _value_problems(options: DPHuBERTOptions) -> Iterator[str]:
    if options.extractor_mode not in EXTRACTOR_NORMS:
        modes = " or ".join(EXTRACTOR_NORMS)
        yield f"extractor_mode is {short(options.extractor_mode)}; it must be {modes}"
    if options.aux_num_out is not None:
        yield (
            f"aux_num_out is {options.aux_num_out}: the linear layer on top (aux.weight, aux.bias) "
            "is no part of the encoder; remove it from the checkpoint and set aux_num_out to None"
        )
    if isinstance(options, WavLMOptions):
        yield from _wavlm_problems(options)


def _wavlm_problems(options: WavLMOptions) -> Iterator[str]:
    total, width = options.encoder_total_num_heads, options.encoder_embed_dim
    if len(set(total)) != 1 or total[0] < 1:
        yield f"encoder_total_num_heads is {short(total)}; layers share one bias, so one number"
    elif width % total[0]:
        yield f"encoder_embed_dim {width} is not a multiple of its {total[0]} heads"
    if options.encoder_use_attention and not options.encoder_use_attention[0]:
        yield (
            "encoder_use_attention starts with False: the position bias of all layers belongs to "
            "the first layer's attention (Q15)"
        )


def to_ours(options: DPHuBERTOptions, source: str) -> SpeechEncoderConfig:
    """Our configuration of the same encoder.

    Raises:
        ConfigError: values that make no sense.
    """
    wavlm = isinstance(options, WavLMOptions)
    same = {**SAME, **SAME_OF_WAVLM} if wavlm else SAME
    values = {ours: getattr(options, theirs) for theirs, ours in same.items()}
    values["conv_layers"] = options.extractor_conv_layer_config or HUBERT_CONV_LAYERS
    fixed = {
        "family": "dpwavlm" if wavlm else "dphubert",
        "channel_scale": True,
        "mask_embedding": False,
        "frame_padding": "conv",
        "hidden_states": "features",
        "layers": [_layer(options, index) for index in range(options.encoder_num_layers)],
    }
    if isinstance(options, WavLMOptions):
        fixed["total_heads"] = options.encoder_total_num_heads[0]
    kept = {name: value for name, value in values.items() if name not in DERIVED}
    with problems_of(source):
        return SpeechEncoderConfig.from_dict({**kept, **fixed})


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
    return [
        *_fixed_problems(config),
        *_layer_problems(config),
    ]


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


__all__ = ["DPHuBERTOptions", "from_ours", "not_expressible", "read_options", "to_ours"]
