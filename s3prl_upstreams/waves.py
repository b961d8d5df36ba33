"""From S3PRL's list of waves to one padded batch. Shape suffixes: B batch, S samples."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from espnet_kd.errors import AudioError


def pad_waves(wavs: Sequence[Tensor], min_samples: int, pad_to: int = 0) -> tuple[Tensor, Tensor]:
    """Pad waves with zeros to the longest, or to one frame.

    Args:
        wavs: B waves (S,), floating, on one device.
        min_samples: samples of one frame; a shorter wave counts as this long.
        pad_to: samples of the batch, where it is shorter.

    Returns:
        (B, S) batch and (B,) int64 lengths, on the waves' device.

    Raises:
        AudioError: names the first wave that cannot be used.
    """
    if len(wavs) == 0:
        raise AudioError("an empty batch: the upstream needs at least one wave")
    for index, wav in enumerate(wavs):
        _check(index, wav)
    x_BS = pad_sequence(list(wavs), batch_first=True)
    size = max(min_samples, pad_to)
    if x_BS.size(1) < size:
        x_BS = torch.nn.functional.pad(x_BS, (0, size - x_BS.size(1)))
    # One look at the whole batch; which wave it was matters only when there is one.
    if not torch.isfinite(x_BS).all():
        raise AudioError(_not_finite(wavs))
    lengths = [max(len(wav), min_samples) for wav in wavs]
    return x_BS, torch.tensor(lengths, dtype=torch.int64, device=x_BS.device)


def _check(index: int, wav: Tensor) -> None:
    if wav.dim() != 1:
        raise AudioError(
            f"wave {index} has shape {tuple(wav.shape)}; upstreams take 1-D mono waves: "
            "choose or average the channels first"
        )
    if len(wav) == 0:
        raise AudioError(f"wave {index} is empty; remove this utterance from the data")
    if not wav.is_floating_point():
        raise AudioError(
            f"wave {index} holds {wav.dtype}; upstreams take float samples in [-1, 1]: "
            "divide 16-bit samples by 32768"
        )


def _not_finite(wavs: Sequence[Tensor]) -> str:
    index, wav = next((i, w) for i, w in enumerate(wavs) if not torch.isfinite(w).all())
    position = int((~torch.isfinite(wav)).nonzero()[0])
    return (
        f"wave {index} holds NaN or infinity (first at sample {position} of {len(wav)}); "
        "repair or remove this utterance"
    )
