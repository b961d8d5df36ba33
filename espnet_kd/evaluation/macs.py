"""Multiply-accumulate operations of an encoder, counted without computing anything.

The model is rebuilt on the meta device and torch's flop counter watches one forward pass of batch 1
(MACs = FLOPs / 2): convolutions, linear layers and matrix products count, norms, activations and
element-wise operations do not. Attention goes the plain way, so that its T² part is counted.

The SUPERB leaderboard's figure is the sum over 32 utterances of LibriSpeech test-clean (every 82nd
by length, 224.86 s). Its tool adds, for each call of torch's own multi-head attention function,
4·T·D (three biases and the query's scaling) and 4·H·T² (mask, softmax, dropout) per layer: teachers
get these extras, students with their own attention modules (ARMHuBERT, MaskHuBERT, STaRHuBERT)
do not. HuBERT Base: 1 669 156 022 848 with them, as printed by the tool.

Printed for students (1e9): STaRHuBERT 463.5, here 463.5. ARMHuBERT-S 449.4, here 449.9 (0.1 % more;
why is not known). DPHuBERT 654.1 and DPWavLM 589.2 depend on which units were removed, not on how
many: HuBERT Base cut to as many parameters in another way has 452.7. Their checkpoints are counted
as they are.

Shapes: B batch, S samples, T frames, D width, H heads.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from espnet_kd.encoder import SpeechEncoder, SpeechEncoderConfig
from espnet_kd.evaluation.parameters import part_of

# fmt: off
SUPERB_SAMPLES = (
    20560, 34560, 38480, 42560, 45600, 48720, 52000, 55120,
    59120, 62720, 66400, 71200, 75200, 78640, 82800, 87520,
    92720, 98560, 104400, 111120, 118480, 125040, 132720, 142640,
    154000, 166720, 180880, 197920, 217920, 239280, 268160, 326000,
)
# fmt: on
"""Samples of the leaderboard's 32 utterances at 16 kHz; four groups of eight are its columns."""


def count_macs(config: SpeechEncoderConfig, samples: int) -> dict[str, int]:
    """MACs of one utterance.

    Args:
        config: the encoder.
        samples: length of the waveform.

    Returns:
        part (front end, projection, …) to MACs; their sum is the total.
    """
    return _count(meta_encoder(config), samples)


def macs_summary(config: SpeechEncoderConfig, seconds: float) -> dict[str, Any]:
    """``{"seconds", "total", "parts"}`` for the profile."""
    parts = count_macs(config, round(seconds * config.sample_rate))
    return {"seconds": seconds, "total": sum(parts.values()), "parts": parts}


def superb_macs(config: SpeechEncoderConfig) -> dict[str, Any]:
    """SUPERB's figure.

    Returns:
        ``total`` and the four length ``groups`` by the flop counter, and the smallest and largest
        count ``per_second`` of speech; ``with_extras``, ``groups_with_extras`` and
        ``per_second_with_extras`` with the attention extras of the module docstring.
    """
    encoder = meta_encoder(config)
    counted = totals(encoder, SUPERB_SAMPLES)
    extras = [attention_extras(encoder, samples) for samples in SUPERB_SAMPLES]
    full = [macs + extra for macs, extra in zip(counted, extras, strict=True)]
    return {
        "total": sum(counted),
        "groups": _groups(counted),
        "per_second": _per_second(counted, config.sample_rate),
        "with_extras": sum(full),
        "groups_with_extras": _groups(full),
        "per_second_with_extras": _per_second(full, config.sample_rate),
    }


def totals(encoder: SpeechEncoder, lengths: Sequence[int]) -> list[int]:
    """MACs of utterances of several lengths, exact, from four passes where that is possible.

    The convolutions' share follows from their output lengths; the rest is a quadratic function of
    the frames, which three passes give and a fourth confirms. Time reduction rounds frames up, so
    such an encoder is counted length by length.

    Args:
        encoder: on the meta device.
        lengths: samples of each utterance.

    Returns:
        MACs in the order of ``lengths``.
    """

    def count(samples: int) -> int:
        return sum(_count(encoder, samples).values())

    def rest(samples: int) -> tuple[int, int]:
        return encoder.frame_count(samples), count(samples) - _convolutions(encoder, samples)

    uneven = any(layer.time_reduction > 1 for layer in encoder.config.layers)
    if uneven or len({encoder.frame_count(samples) for samples in lengths}) <= 4:
        return [count(samples) for samples in lengths]
    known = [rest(samples) for samples in _four_of(encoder, lengths)]
    if _quadratic(known[:3], known[3][0]) != known[3][1]:
        return [count(samples) for samples in lengths]
    return [
        _convolutions(encoder, samples) + int(_quadratic(known[:3], encoder.frame_count(samples)))
        for samples in lengths
    ]


def _four_of(encoder: SpeechEncoder, lengths: Sequence[int]) -> list[int]:
    """Shortest, longest and two between, all of different numbers of frames."""
    of_frames = {encoder.frame_count(samples): samples for samples in lengths}
    order = [of_frames[frames] for frames in sorted(of_frames)]
    return [order[index * (len(order) - 1) // 3] for index in range(4)]


def _convolutions(encoder: SpeechEncoder, samples: int) -> int:
    macs, before = 0, 1
    for channels, kernel, stride in encoder.config.conv_layers:
        samples = (samples - kernel) // stride + 1
        macs += samples * kernel * before * channels
        before = channels
    return macs


def _quadratic(points: Sequence[tuple[int, int]], x: int) -> Fraction:
    """Value at ``x`` of the parabola through three points (Lagrange)."""
    value = Fraction(0)
    for i, (x_i, y_i) in enumerate(points):
        others = [x_j for j, (x_j, _) in enumerate(points) if j != i]
        value += y_i * math.prod(Fraction(x - x_j, x_i - x_j) for x_j in others)
    return value


def attention_extras(encoder: SpeechEncoder, samples: int) -> int:
    """What SUPERB's tool adds for attention modules: 4·T·D + 4·H·T² per layer with attention."""
    frames, extra = encoder.frame_count(samples), 0
    for layer in encoder.config.layers:
        frames = -(-frames // layer.time_reduction)
        if layer.attention != "none":
            extra += 4 * frames * layer.attention_dim + 4 * layer.num_heads * frames**2
    return extra


def meta_encoder(config: SpeechEncoderConfig) -> SpeechEncoder:
    """The encoder's shapes without numbers, in eval mode."""
    with torch.device("meta"):
        return SpeechEncoder.from_config(config).eval()


def _count(encoder: SpeechEncoder, samples: int) -> dict[str, int]:
    x_BS = torch.empty(1, samples, device="meta")
    # With gradients on, the encoder takes none of its inference-only short cuts.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        encoder(x_BS)
    counts = counter.get_flop_counts()
    parts: dict[str, int] = {}
    for name in counts:
        module = name.partition(".")[2]
        if module and not _has_counted_parent(module, counts, name):
            flops = sum(counts[name].values())
            parts[part_of(module)] = parts.get(part_of(module), 0) + flops // 2
    rest = counter.get_total_flops() // 2 - sum(parts.values())
    return {**parts, **({"other": rest} if rest else {})}


def _has_counted_parent(module: str, counts: Mapping[str, object], name: str) -> bool:
    """Whether a module around this one, below the encoder itself, has a count of its own."""
    root = name.partition(".")[0]
    parents = module.split(".")[:-1]
    return any(
        f"{root}.{'.'.join(parents[:depth])}" in counts for depth in range(1, len(parents) + 1)
    )


def _per_second(values: list[int], sample_rate: int) -> dict[str, float]:
    rates = [
        value * sample_rate / samples for value, samples in zip(values, SUPERB_SAMPLES, strict=True)
    ]
    return {"min": min(rates), "max": max(rates)}


def _groups(values: list[int]) -> list[int]:
    return [sum(values[start : start + 8]) for start in range(0, len(values), 8)]
