"""What makes an encoder configuration impossible to build; every problem is reported at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from espnet_kd.encoder.config import LayerConfig, SpeechEncoderConfig


# Beyond any model, and small enough that building one on paper takes no time and no memory.
MAX_SIZE = 1_000_000
MAX_LAYERS = 1_000


def layer_count(value: Any) -> int:
    """A foreign configuration's number of layers, refused before that many records are made.

    Raises:
        ValueError: no number, or more than any model has.
    """
    count = int(value)
    if count > MAX_LAYERS:
        raise ValueError(f"{count} layers are more than {MAX_LAYERS}")
    return count


def encoder_problems(config: SpeechEncoderConfig) -> list[str]:
    """All problems of ``config``, each a sentence that names the field."""
    return [
        *_choice_problems(config),
        *_front_end_problems(config),
        *_number_problems(config),
        *_layer_problems(config),
        *_head_problems(config),
    ]


def _choice_problems(config: SpeechEncoderConfig) -> Iterator[str]:
    from espnet_kd.encoder import config as names

    for name, allowed in (
        ("extractor_norm", names.EXTRACTOR_NORMS),
        ("reuse_mode", names.REUSE_MODES),
        ("frame_padding", names.FRAME_PADDINGS),
        ("hidden_states", names.HIDDEN_STATES),
        ("activation", names.ACTIVATIONS),
    ):
        value = getattr(config, name)
        if value not in allowed:
            yield f"{name} is {value!r}; it must be one of {', '.join(allowed)}"


def _front_end_problems(config: SpeechEncoderConfig) -> Iterator[str]:
    if not config.conv_layers:
        yield "conv_layers is empty; at least one [channels, kernel, stride] is needed"
    if len(config.conv_layers) > MAX_LAYERS:
        yield f"conv_layers has {len(config.conv_layers)} entries; {MAX_LAYERS} are the most"
    for index, conv in enumerate(config.conv_layers[:MAX_LAYERS]):
        if len(conv) != 3 or not all(isinstance(n, int) and 1 <= n <= MAX_SIZE for n in conv):
            yield f"conv_layers[{index}] is {conv}; it must be positive [channels, kernel, stride]"
    if config.conv_layers and config.conv_layers[-1] and not config.feature_projection:
        channels = config.conv_layers[-1][0]
        if channels != config.embed_dim:
            yield (
                f"feature_projection is off but the last convolution has {channels} channels "
                f"and embed_dim is {config.embed_dim}"
            )

    yield from _feature_norm_problems(config)


def _feature_norm_problems(config: SpeechEncoderConfig) -> Iterator[str]:
    total = config.feature_norm_channels
    if not total:
        return
    if not (config.feature_projection and config.feature_layer_norm):
        yield "feature_norm_channels needs feature_projection and feature_layer_norm"
    channels = config.conv_layers[-1][0] if config.conv_layers and config.conv_layers[-1] else 1
    if not channels <= total <= MAX_SIZE:
        yield (
            f"feature_norm_channels is {total}; it must be at least the last convolution's "
            f"{channels} channels (at most {MAX_SIZE:,})"
        )


def _number_problems(config: SpeechEncoderConfig) -> Iterator[str]:
    for name in ("embed_dim", "pos_conv_kernel", "pos_conv_groups", "sample_rate", "max_distance"):
        if not 1 <= getattr(config, name) <= MAX_SIZE:
            yield f"{name} is {getattr(config, name)}; it must be at least 1 (at most {MAX_SIZE:,})"
    for name in ("head_dim", "num_buckets", "total_heads"):
        if not 0 <= getattr(config, name) <= MAX_SIZE:
            yield (
                f"{name} is {getattr(config, name)}; it must not be negative (at most {MAX_SIZE:,})"
            )
    if config.layer_norm_eps <= 0.0:
        yield f"layer_norm_eps is {config.layer_norm_eps}; it must be positive"
    if config.pos_conv_groups > 0 and config.embed_dim % config.pos_conv_groups:
        yield (
            f"embed_dim {config.embed_dim} is not a multiple of pos_conv_groups "
            f"{config.pos_conv_groups}"
        )
    for name in (
        "dropout",
        "attention_dropout",
        "activation_dropout",
        "dropout_input",
        "layerdrop",
    ):
        if not 0.0 <= getattr(config, name) < 1.0:
            yield f"{name} is {getattr(config, name)}; it must be in [0, 1)"


def _layer_problems(config: SpeechEncoderConfig) -> Iterator[str]:
    if not 1 <= len(config.layers) <= MAX_LAYERS:
        count = len(config.layers) or "empty"
        yield f"layers is {count}; 1 to {MAX_LAYERS} layers are possible"
        return
    source: LayerConfig | None = None
    for index, layer in enumerate(config.layers):
        yield from _one_layer_problems(config, index, layer, source)
        if layer.attention == "full":
            source = layer
        if layer.time_reduction > 1:
            source = layer if layer.attention == "full" else None


def _one_layer_problems(
    config: SpeechEncoderConfig, index: int, layer: LayerConfig, source: LayerConfig | None
) -> Iterator[str]:
    from espnet_kd.encoder.config import ATTENTION_KINDS

    where = f"layers[{index}]"
    if layer.attention not in ATTENTION_KINDS:
        allowed = ", ".join(ATTENTION_KINDS)
        yield f"{where}.attention is {layer.attention!r}; it must be one of {allowed}"
    if layer.attention != "none" and (layer.num_heads < 1 or layer.head_dim < 1):
        yield f"{where} needs at least one head of width 1 or attention: none"
    if max(layer.num_heads, layer.head_dim, layer.ffn_dim, layer.time_reduction_kernel) > MAX_SIZE:
        yield f"{where}: no size may be more than {MAX_SIZE:,}"
    if layer.ffn_dim < 0 or layer.time_reduction < 1 or layer.time_reduction_kernel < 1:
        yield (
            f"{where}: ffn_dim must not be negative, time_reduction and its kernel must be at "
            "least 1"
        )
    if layer.attention == "reused" and (source is None or layer.time_reduction > 1):
        yield f"{where} reuses a map, but no earlier layer at its frame rate computes one"
    elif layer.attention == "reused" and source is not None and source.num_heads != layer.num_heads:
        yield (
            f"{where} has {layer.num_heads} heads but the map that it reuses has {source.num_heads}"
        )
    yield from _kept_head_problems(config, where, layer)


def _kept_head_problems(
    config: SpeechEncoderConfig, where: str, layer: LayerConfig
) -> Iterator[str]:
    if layer.attention != "full" or not config.num_buckets:
        return
    kept = layer.kept_heads
    if kept is None and layer.num_heads != config.bias_heads:
        yield (
            f"{where} has {layer.num_heads} of {config.bias_heads} heads with a position bias; "
            "kept_heads must name them"
        )
    if kept is not None and (
        len(kept) != layer.num_heads
        or len(set(kept)) != len(kept)
        or any(not 0 <= head < config.bias_heads for head in kept)
    ):
        yield (
            f"{where}.kept_heads {kept} must be {layer.num_heads} different indexes "
            f"below {config.bias_heads}"
        )


def _head_problems(config: SpeechEncoderConfig) -> Iterator[str]:
    if config.hidden_states == "heads" and not config.head_dim:
        yield "hidden_states is 'heads' but head_dim is 0, so there are no heads"
    if config.num_buckets > 0 and config.layers:
        yield from _position_bias_problems(config)


def _position_bias_problems(config: SpeechEncoderConfig) -> Iterator[str]:
    near = config.num_buckets // 4  # distances below have a bucket of their own, on either side
    if near < 1:
        yield f"num_buckets is {config.num_buckets}; a position bias needs at least 4"
    elif config.max_distance <= near:
        yield (
            f"max_distance is {config.max_distance}; with {config.num_buckets} buckets it must be "
            f"more than {near}"
        )
    if config.bias_heads < 1:
        yield "total_heads is 0 and the first layer has no heads; total_heads must be given"
    elif config.embed_dim % config.bias_heads:
        yield (
            f"embed_dim {config.embed_dim} is not a multiple of the {config.bias_heads} heads "
            "of the position bias"
        )
