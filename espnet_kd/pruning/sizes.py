"""Parameters and MACs of an encoder as formulas of its unit counts, differentiable in these.

A count is a number, or a tensor where gates make it an expectation. Source of the parameter
formula: spec dphubert.md 4; it leaves out mask embedding, projection heads and WavLM's position
bias and gates, as published (Q4).

Shapes: D width, T frames, k kernel, h heads, d head width, f feed-forward units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from espnet_kd.encoder import LayerConfig, SpeechEncoder, SpeechEncoderConfig

Count = float | Tensor


@dataclass(frozen=True)
class Sizes:
    """Unit counts; one entry per convolution or layer."""

    channels: Sequence[Count]
    """Channels of each convolution."""

    heads: Sequence[Count]
    """Attention heads of each layer."""

    units: Sequence[Count]
    """Feed-forward units of each layer."""

    attention: Sequence[Count]
    """Probability that the layer has its attention block."""

    feed_forward: Sequence[Count]
    """Probability that the layer has its feed-forward block."""


def sizes_of(config: SpeechEncoderConfig) -> Sizes:
    """The counts that a configuration states."""
    return Sizes(
        channels=[channels for channels, _, _ in config.conv_layers],
        heads=[layer.num_heads for layer in config.layers],
        units=[layer.ffn_dim for layer in config.layers],
        attention=[float(layer.attention != "none") for layer in config.layers],
        feed_forward=[float(layer.ffn_dim > 0) for layer in config.layers],
    )


def parameter_total(encoder: SpeechEncoder) -> int:
    """Elements of all weights as published figures count them: with the channel scale, without
    mask embedding and projection heads.
    """
    names = ("mask_embedding", "heads.", "feature_extractor.channel_scale")
    counted = [p.numel() for n, p in encoder.named_parameters() if not n.startswith(names)]
    return sum(counted) + encoder.config.conv_dim


# --- Parameters
def count_parameters(config: SpeechEncoderConfig, sizes: Sizes) -> Count:
    """Number of parameters of an encoder of this configuration with these counts."""
    width, last = config.embed_dim, sizes.channels[-1]
    total: Count = _conv_parameters(config, sizes) + last
    total = total + 2 * last * config.feature_layer_norm
    total = total + (last + 1) * width * config.feature_projection
    kernel, groups = config.pos_conv_kernel, config.pos_conv_groups
    total = total + width * (width // groups) * kernel + width + kernel + 2 * width
    for index, layer in enumerate(config.layers):
        total = total + 4 * width
        total = (
            total
            + _attention_parameters(layer, width, sizes.heads[index]) * (sizes.attention[index])
        )
        units = sizes.units[index]
        total = total + ((width + 1) * units + (units + 1) * width) * sizes.feed_forward[index]
        if layer.time_reduction > 1:
            total = total + width * width * layer.time_reduction_kernel + width
    return total


def _conv_parameters(config: SpeechEncoderConfig, sizes: Sizes) -> Count:
    total: Count = 0
    before: Count = 1
    for index, ((_, kernel, _), channels) in enumerate(
        zip(config.conv_layers, sizes.channels, strict=True)
    ):
        has_norm = index == 0 or config.extractor_norm == "layer_norm"
        total = total + before * channels * kernel + channels * (config.conv_bias + 2 * has_norm)
        before = channels
    return total


def _attention_parameters(layer: LayerConfig, width: int, heads: Count) -> Count:
    inner = heads * layer.head_dim
    inputs = 1 if layer.attention == "reused" else 3
    return (width + 1) * inner * inputs + (inner + 1) * width


# --- Multiply-accumulate operations
def count_macs(config: SpeechEncoderConfig, sizes: Sizes, seconds: float) -> Count:
    """MACs of one utterance: convolutions, linear layers and matrix products, heads included."""
    width = config.embed_dim
    total, frames = _conv_macs(config, sizes, round(seconds * config.sample_rate))
    if config.feature_projection:
        total = total + sizes.channels[-1] * width * frames
    kernel = config.pos_conv_kernel
    padded = frames + 2 * (kernel // 2) - kernel + 1
    total = total + width * (width // config.pos_conv_groups) * kernel * padded
    if config.head_dim != width:
        total = total + config.num_layers * width * config.head_dim * frames
    for index, layer in enumerate(config.layers):
        if layer.time_reduction > 1:
            frames = -(-frames // layer.time_reduction)
            total = total + width * width * layer.time_reduction_kernel * frames
        attention = _attention_macs(config, layer, sizes.heads[index], frames)
        total = total + attention * sizes.attention[index]
        total = total + 2 * width * sizes.units[index] * frames * sizes.feed_forward[index]
    return total


def _conv_macs(config: SpeechEncoderConfig, sizes: Sizes, samples: int) -> tuple[Count, int]:
    """MACs of the front end, and its number of frames."""
    total: Count = 0
    before: Count = 1
    for (_, kernel, stride), channels in zip(config.conv_layers, sizes.channels, strict=True):
        samples = (samples - kernel) // stride + 1
        total = total + before * channels * kernel * samples
        before = channels
    return total, samples


def _attention_macs(
    config: SpeechEncoderConfig, layer: LayerConfig, heads: Count, frames: int
) -> Count:
    width, inner = config.embed_dim, heads * layer.head_dim
    if layer.attention == "reused":
        return 2 * width * inner * frames + inner * frames**2
    total = 4 * width * inner * frames + 2 * inner * frames**2
    if config.num_buckets:
        total = total + heads * (width // config.bias_heads) * 8 * frames
    return total
