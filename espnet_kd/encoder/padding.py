"""Which frames are padding: two published rules, both from the number of valid samples.

Shapes: B utterances, S samples, T frames.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from espnet_kd.errors import AudioError


def conv_lengths(lengths_B: Tensor, conv_layers: Sequence[Sequence[int]]) -> Tensor:
    """Frames of ``lengths_B`` samples: floor((n - kernel) / stride) + 1 per convolution, or 0."""
    for _, kernel, stride in conv_layers:
        lengths_B = torch.div(lengths_B - kernel, stride, rounding_mode="floor") + 1
        lengths_B = lengths_B.clamp(min=0)
    return lengths_B


def chunked_lengths(lengths_B: Tensor, num_samples: int, num_frames: int) -> Tensor:
    """Frames by fairseq HuBERT's rule: the padded waveform is cut into T equal chunks of samples,
    and a frame is padding when all samples of its chunk are (0 to 2 frames more than by `conv`).
    """
    chunk = num_samples // num_frames
    frames_B = torch.div(lengths_B + chunk - 1, chunk, rounding_mode="floor")
    return frames_B.clamp(max=num_frames)


def padding_mask(frame_lengths_B: Tensor, num_frames: int) -> Tensor | None:
    """(B, T) mask, True = padding, or None where no frame is: the common case needs no mask at all.

    Raises:
        AudioError: an utterance is too short for a single frame.
    """
    shortest = int(frame_lengths_B.min())
    if shortest < 1:
        index = int(frame_lengths_B.argmin())
        raise AudioError(
            f"utterance {index} of the batch is too short for one frame; "
            "drop utterances shorter than the model's min_samples"
        )
    if shortest >= num_frames:
        return None
    positions_T = torch.arange(num_frames, device=frame_lengths_B.device)
    return positions_T >= frame_lengths_B[:, None]


def normalize_waveform(x_BS: Tensor, lengths_B: Tensor | None, eps: float = 1e-5) -> Tensor:
    """Each waveform with mean 0 and variance 1 over its own samples; padding becomes 0.

    Computed and returned in single precision or better: a sum over samples needs it.
    """
    x_BS = x_BS.to(torch.promote_types(x_BS.dtype, torch.float32))
    if lengths_B is None:
        return torch.nn.functional.layer_norm(x_BS, x_BS.shape[-1:], eps=eps)
    positions_S = torch.arange(x_BS.size(1), device=x_BS.device)
    valid_BS = positions_S < lengths_B[:, None]
    count_B1 = lengths_B[:, None].clamp(min=1).to(x_BS.dtype)
    mean_B1 = (x_BS * valid_BS).sum(1, keepdim=True) / count_B1
    centred_BS = (x_BS - mean_B1) * valid_BS
    variance_B1 = centred_BS.square().sum(1, keepdim=True) / count_B1
    return centred_BS * torch.rsqrt(variance_B1 + eps)
