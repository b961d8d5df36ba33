"""What a batch of waveforms must be before the front end sees it.

Shapes: B utterances, S samples.
"""

from __future__ import annotations

from torch import Tensor

from espnet_kd.errors import AudioError


def check_batch(x_BS: Tensor, lengths_B: Tensor | None, min_samples: int) -> None:
    """Refuse what is no batch of mono float waveforms with at least one frame each.

    Raises:
        AudioError: shape, type or lengths are wrong; says which utterance and what to do.
    """
    if x_BS.dim() != 2:
        raise AudioError(
            f"waveforms must be (batch, samples) of mono audio, not {tuple(x_BS.shape)}"
        )
    if not x_BS.is_floating_point():
        raise AudioError(
            f"waveforms must be float in [-1, 1], not {x_BS.dtype}; divide 16-bit audio by 32768"
        )
    if x_BS.size(0) == 0:
        raise AudioError("the batch is empty: it has no waveform")
    if x_BS.size(1) < min_samples:
        raise AudioError(
            f"waveforms of {x_BS.size(1)} samples are too short: {min_samples} give the first frame"
        )
    if lengths_B is not None:
        _check_lengths(x_BS, lengths_B)


def _check_lengths(x_BS: Tensor, lengths_B: Tensor) -> None:
    if lengths_B.shape != x_BS.shape[:1]:
        raise AudioError(
            f"{tuple(lengths_B.shape)} lengths do not fit a batch of {x_BS.size(0)} waveforms"
        )
    longest = int(lengths_B.max())
    if longest > x_BS.size(1):
        raise AudioError(
            f"utterance {int(lengths_B.argmax())} of the batch claims {longest} samples but the "
            f"batch has {x_BS.size(1)}"
        )
