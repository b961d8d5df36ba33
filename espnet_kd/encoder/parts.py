"""A large batch in parts, where nothing has to be kept for a backward pass on a CPU.

Attention maps and feed-forward activations of a whole batch are fresh pages that the system has to
clear for every layer anew; parts of a few megabytes stay in the cache and in the allocator's hands.

Shapes: B utterances, T frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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


def join(frames: FrameFeatures, parts: Sequence[EncoderOutput]) -> EncoderOutput:
    """One output of the parts' outputs."""
    first = parts[0]
    output = EncoderOutput([], frames.lengths_B, frames.padding_BT)
    output.layer_outputs = _join([part.layer_outputs for part in parts])
    output.features = _cat([part.features for part in parts])
    output.layer_input = _cat([part.layer_input for part in parts])
    if first.projections is not None:
        output.projections = _join([part.projections or [] for part in parts])
    if first.attention_maps is not None:
        layers = zip(*(part.attention_maps or [] for part in parts), strict=True)
        output.attention_maps = [_cat(maps) for maps in layers]
    return output


def _join(lists: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    return [torch.cat(tensors) for tensors in zip(*lists, strict=True)]


def _cat(tensors: Sequence[Tensor | None]) -> Tensor | None:
    present = [tensor for tensor in tensors if tensor is not None]
    return torch.cat(present) if present else None
