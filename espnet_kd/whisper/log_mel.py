"""Whisper's log-mel features of a batch that is on its device already.

The same numbers as ``WhisperFeatureExtractor``, which takes lists of arrays on the CPU.

Shapes: B batch, S samples, M mel bins, F feature frames, K frequencies.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from espnet_kd.errors import AudioError

_FLOOR = 1e-10
_RANGE = 8.0
"""Decades below the loudest point of an utterance, below which all is equally silent."""


class LogMel(nn.Module):
    """Waveforms to features of the model's whole context; what is longer is refused.

    Args:
        extractor: ``WhisperFeatureExtractor`` whose filters and lengths are used.
    """

    window: Tensor
    filters_MK: Tensor

    def __init__(self, extractor: Any) -> None:
        super().__init__()
        self.n_fft = int(extractor.n_fft)
        self.hop = int(extractor.hop_length)
        self.context = int(extractor.n_samples)
        self.rate = int(extractor.sampling_rate)
        filters_KM = torch.from_numpy(extractor.mel_filters).float()
        self.register_buffer("filters_MK", filters_KM.T.contiguous(), persistent=False)
        self.register_buffer("window", torch.hann_window(self.n_fft), persistent=False)

    @torch.no_grad()
    def forward(self, speech_BS: Tensor, lengths_B: Tensor) -> Tensor:
        """Compute features.

        Args:
            speech_BS: waveforms at 16 kHz; what lies behind an utterance's length is not looked at.
            lengths_B: their samples.

        Returns:
            (B, M, F) of the waveforms' type.

        Raises:
            AudioError: an utterance is longer than the context.
        """
        longest = int(lengths_B.max())
        if longest > self.context:
            raise AudioError(
                f"an utterance of {longest / self.rate:.2f} s is in the batch; the model takes at "
                f"most {self.context / self.rate:g} s. Segment the recording, or leave it out"
            )
        places_S = torch.arange(speech_BS.shape[1], device=speech_BS.device)
        wave_BS = speech_BS.float() * (places_S < lengths_B[:, None])
        wave_BS = F.pad(
            wave_BS, (0, self.context - wave_BS.shape[1])
        )  # negative where it is longer
        # Half precision would lose the quiet parts.
        with torch.autocast(speech_BS.device.type, enabled=False):
            spectrum = torch.stft(
                wave_BS, self.n_fft, self.hop, window=self.window.float(), return_complex=True
            )
            power_BKF = spectrum[..., :-1].abs() ** 2
            logs_BMF = (self.filters_MK.float() @ power_BKF).clamp(min=_FLOOR).log10()
        loudest_B = logs_BMF.amax(dim=(1, 2), keepdim=True)
        return ((torch.maximum(logs_BMF, loudest_B - _RANGE) + 4.0) / 4.0).to(speech_BS.dtype)
