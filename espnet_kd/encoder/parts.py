"""A large batch in parts, where nothing has to be kept for a backward pass on a CPU.

Attention maps and feed-forward activations of a whole batch are fresh pages that the system has to
clear for every layer anew; parts of a few megabytes stay in the cache and in the allocator's hands.

Shapes: B utterances, T frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from espnet_kd.encoder.output import EncoderOutput, FrameFeatures

if TYPE_CHECKING:
    from espnet_kd.encoder.config import SpeechEncoderConfig

PART_BYTES = 16 << 20
"""Largest activation of a part; the C library returns buffers of 32 MiB and more to the system."""


def part_size(config: SpeechEncoderConfig, frames: FrameFeatures, maps: bool) -> int:
    """Utterances that should be encoded together; the whole batch where splitting gains nothing."""
    batch, length, _ = frames.x_BTD.shape
    # The reference's map sharing mixes the utterances of a batch, hence a batch is a whole there.
    if torch.is_grad_enabled() or frames.x_BTD.device.type != "cpu" or config.reuse_mode == "ref":
        return batch
    maps = maps or any(layer.attention == "reused" for layer in config.layers)
    widths = [max(layer.ffn_dim, layer.num_heads * length * maps) for layer in config.layers]
    return max(1, min(batch, PART_BYTES // (4 * length * max(config.embed_dim, *widths))))


def split(
    frames: FrameFeatures, mask_BT: Tensor | None, size: int
) -> Iterator[tuple[FrameFeatures, Tensor | None]]:
    """The batch in parts of ``size`` utterances."""
    for start in range(0, frames.x_BTD.size(0), size):
        rows = slice(start, start + size)
        lengths_B, padding_BT = frames.lengths_B, frames.padding_BT
        part = FrameFeatures(
            frames.x_BTD[rows],
            None if lengths_B is None else lengths_B[rows],
            None if padding_BT is None else padding_BT[rows],
        )
        yield part, None if mask_BT is None else mask_BT[rows]


def join(frames: FrameFeatures, parts: Iterable[EncoderOutput]) -> EncoderOutput:
    """One output of the parts' outputs, each of which is copied and let go before the next."""
    whole, start = None, 0
    for part in parts:
        whole = whole or _room(part, frames)
        stop = start + part.layer_outputs[0].size(0)
        for target, source in zip(_tensors(whole), _tensors(part), strict=True):
            target[start:stop] = source
        start = stop
        del part
    assert whole is not None
    return whole


def _room(part: EncoderOutput, frames: FrameFeatures) -> EncoderOutput:
    """An output like ``part``'s for the whole batch, without numbers."""

    def wide(tensor: Tensor) -> Tensor:
        return tensor.new_empty(frames.x_BTD.size(0), *tensor.shape[1:])

    features, layer_input = part.features, part.layer_input
    projections, maps = part.projections, part.attention_maps
    return EncoderOutput(
        hidden_states=[],
        lengths_B=frames.lengths_B,
        padding_BT=frames.padding_BT,
        layer_outputs=[wide(layer) for layer in part.layer_outputs],
        features=None if features is None else wide(features),
        layer_input=None if layer_input is None else wide(layer_input),
        projections=None if projections is None else [wide(layer) for layer in projections],
        attention_maps=None if maps is None else [m if m is None else wide(m) for m in maps],
    )


def _tensors(output: EncoderOutput) -> Iterator[Tensor]:
    lists = (output.layer_outputs, output.projections, output.attention_maps)
    several = [tensor for tensors in lists for tensor in tensors or []]
    for tensor in (output.features, output.layer_input, *several):
        if tensor is not None:
            yield tensor
