"""Mel-cepstral distance of two recordings that say the same at different speeds.

Shapes: S samples, T frames, C cepstral coefficients.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from espnet_kd.data.audio import Wave

Array = npt.NDArray[np.float64]
RATE = 16000
WINDOW, HOP, FFT, MELS = 400, 320, 512, 40
"""Frames of 25 ms every 20 ms; at 10 ms the alignment costs four times as much."""

COEFFICIENTS = 13


def mel_cepstral_distance(first_S: Wave, second_S: Wave) -> float | None:
    """Mean cepstral distance in dB along the best alignment; 0 for the same recording.

    ``10 / ln 10 * sqrt(2 sum (c - c')^2)`` over coefficients 1 to 13 (the 0th is loudness), of
    which each recording's mean is taken off: voice and microphone count less. Frames are aligned
    by dynamic time warping with weights 1, 1 and 2, so that the mean is over both lengths.

    Returns:
        None where a recording is shorter than two frames.
    """
    from scipy.spatial.distance import cdist

    first_TC, second_TC = cepstra(first_S), cepstra(second_S)
    if min(len(first_TC), len(second_TC)) < 2:
        return None
    first_TC -= first_TC.mean(0)
    second_TC -= second_TC.mean(0)
    distances = 10.0 / np.log(10.0) * np.sqrt(2.0) * cdist(first_TC, second_TC)
    return float(warped(distances) / sum(distances.shape))


def cepstra(wave_S: Wave) -> Array:
    """(T, C) mel-cepstral coefficients 1 to 13 of 16 kHz audio."""
    from scipy.fft import dct
    from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

    if len(wave_S) < WINDOW:
        return np.zeros((0, COEFFICIENTS))
    filters = mel_filter_bank(
        num_frequency_bins=FFT // 2 + 1,
        num_mel_filters=MELS,
        min_frequency=0.0,
        max_frequency=RATE / 2,
        sampling_rate=RATE,
    )
    log_mel = spectrogram(
        wave_S.astype(np.float64),
        window_function(WINDOW, "hann"),
        frame_length=WINDOW,
        hop_length=HOP,
        fft_length=FFT,
        power=2.0,
        center=False,
        mel_filters=filters,
        mel_floor=1e-8,
        log_mel="log",
    )
    found: Array = dct(log_mel.T, type=2, norm="ortho", axis=1)[:, 1 : COEFFICIENTS + 1]
    return found


def warped(distances: Array) -> float:
    """Cost of the cheapest path from corner to corner: steps along one side count the distance
    once, diagonal ones twice.

    Walks along anti-diagonals, whose cells do not depend on each other.
    """
    rows, columns = distances.shape
    before = np.full(rows, np.inf)  # anti-diagonal k - 2, by row
    last = np.full(rows, np.inf)  # anti-diagonal k - 1
    last[0] = 2.0 * distances[0, 0]
    for k in range(1, rows + columns - 1):
        row = np.arange(max(0, k - columns + 1), min(rows, k + 1))
        here = distances[row, k - row]
        above = np.where(row > 0, last[row - 1], np.inf)
        beside = np.where(row < k, last[row], np.inf)
        diagonal = np.where((row > 0) & (row < k), before[row - 1], np.inf)
        new = np.full(rows, np.inf)
        new[row] = np.minimum(np.minimum(above, beside) + here, diagonal + 2.0 * here)
        before, last = last, new
    return float(last[rows - 1])
