"""The ``config`` of a DPHuBERT or DPWavLM checkpoint, checked. Source: spec dphubert.md 2."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from espnet_kd.encoder.config import EXTRACTOR_NORMS
from espnet_kd.errors import ConfigError
from espnet_kd.utils.options import from_mapping, short


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
        if not name.startswith("encoder_") or not isinstance(value, (list, tuple)):
            continue
        if isinstance(layers, int) and len(value) != layers:
            yield f"{name} has {len(value)} entries; encoder_num_layers is {layers}"


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
