"""Lengths of padded utterances in ESPnet's transducer encoder.

ESPnet 202511 cuts the mask of the input frames where its convolutions give fewer frames, instead of
subsampling it: nearly every utterance of a batch then counts as long as the longest one, padding
included. Single utterances, as in decoding, are not affected.

Shapes: B batch, T frames before the convolutions, U after them.
"""

from __future__ import annotations

from typing import Any

import torch
from espnet2.asr_transducer.encoder.blocks.conv_input import ConvInput
from torch import Tensor, nn


def count_exactly(encoder: nn.Module) -> None:
    """Make the input convolutions of a transducer encoder return the true mask."""
    embed = encoder.embed
    if isinstance(embed, ConvInput):
        embed.register_forward_hook(_subsample_mask)


def _subsample_mask(embed: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
    x_BUD, mask_BU = output
    if mask_BU is None:
        return output
    lengths_B = frames_after(embed.conv, inputs[1].logical_not().sum(dim=1))  # type: ignore[arg-type]
    frame_U = torch.arange(x_BUD.shape[1], device=x_BUD.device)
    return x_BUD, frame_U >= lengths_B.unsqueeze(1)


def frames_after(conv: nn.Module, lengths_B: Tensor) -> Tensor:
    """Frames (B,) that convolutions and poolings make of so many; at least one."""
    for layer in conv.children():
        if isinstance(layer, (nn.Conv2d, nn.MaxPool2d)):
            kernel, stride, padding = map(_first, (layer.kernel_size, layer.stride, layer.padding))
            steps_B = lengths_B + 2 * padding - kernel
            if isinstance(layer, nn.MaxPool2d) and layer.ceil_mode:
                steps_B = steps_B + stride - 1
            lengths_B = torch.div(steps_B, stride, rounding_mode="floor") + 1
    return lengths_B.clamp(min=1)


def _first(size: Any) -> int:
    """The size along the first axis, which is time."""
    return int(size[0] if isinstance(size, tuple) else size)
