"""Log-mel features of audio that fits into the model's context.

Transformers' extractor cuts what is longer and says nothing; here it is refused.

Shapes: B batch, S samples, M mel bins, F feature frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from espnet_kd.errors import AudioError

Wave = npt.NDArray[np.float32]


def log_mel(
    extractor: Any, waves: Sequence[Wave], utterances: Sequence[str] = (), *, device: str = "cpu"
) -> Tensor:
    """Features of recordings, padded with silence to the model's context.

    Args:
        extractor: ``WhisperFeatureExtractor``.
        waves: float arrays (S,) at the extractor's rate, 16 kHz.
        utterances: their ids, for messages.
        device: where they are computed.

    Returns:
        (B, M, F) float32 on the CPU.

    Raises:
        AudioError: a recording is empty, or longer than the context.
    """
    for index, wave_S in enumerate(waves):
        if not 0 < len(wave_S) <= extractor.n_samples:
            name = utterances[index] if utterances else f"number {index}"
            raise AudioError(
                f"utterance {name}: {len(wave_S) / extractor.sampling_rate:.2f} s of audio; the "
                f"model takes more than 0 and at most {extractor.chunk_length} s. Segment the "
                "recording, or leave it out"
            )
    features_BMF: Tensor = extractor(
        list(waves), sampling_rate=extractor.sampling_rate, return_tensors="pt", device=device
    ).input_features
    return features_BMF
