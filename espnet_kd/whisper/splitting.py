"""Recordings longer than Whisper's window, cut where it is quiet. Shape suffix: S samples.

The published command keeps such a recording whole: its features end at 30 s, its text does not.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from espnet_kd.whisper.packing import Clip

SEARCH_SECONDS = 4.0
"""How far from an even division a cut may lie."""

_LISTEN_SECONDS, _STEP_SECONDS = 0.2, 0.01
"""Stretch whose power is compared, and the distance between two such stretches."""


def quiet_cuts(
    wave_S: npt.NDArray[np.float32], max_samples: int, sample_rate: int = 16000
) -> list[int]:
    """Positions that divide a recording into as few pieces as possible, cut at quiet places.

    Args:
        wave_S: (S,) the recording.
        max_samples: longest piece.
        sample_rate: in Hz.

    Returns:
        First samples of the second, third, ... piece; empty if the recording is short enough.
    """
    cuts: list[int] = []
    start, total = 0, len(wave_S)
    for pieces in range(math.ceil(total / max_samples), 1, -1):
        even = start + (total - start) / pieces
        search = SEARCH_SECONDS * sample_rate
        # What remains must fit into the pieces that remain, and this piece into max_samples.
        first = max(even - search, total - (pieces - 1) * max_samples, start + 1)
        last = min(even + search, start + max_samples)
        start = _quietest(wave_S, math.ceil(first), math.floor(last), round(even), sample_rate)
        cuts.append(start)
    return cuts


def _quietest(
    wave_S: npt.NDArray[np.float32], first: int, last: int, even: int, sample_rate: int
) -> int:
    """Position in [first, last] with least power around it; of equals the nearest to ``even``."""
    half = max(1, round(_LISTEN_SECONDS * sample_rate / 2))
    step = max(1, round(_STEP_SECONDS * sample_rate))
    low = max(0, first - half)
    energy_S = np.concatenate([[0.0], np.cumsum(wave_S[low : last + half].astype(np.float64) ** 2)])
    positions = np.arange(first, last + 1, step)
    left = np.maximum(positions - half, 0) - low
    right = np.minimum(positions + half - low, len(energy_S) - 1)
    power = (energy_S[right] - energy_S[left]) / (right - left)
    order = np.lexsort((np.abs(positions - even), np.round(power, 12)))
    return int(positions[order[0]])


def split_clip(
    clip: Clip, wave_S: npt.NDArray[np.float32], max_samples: int, sample_rate: int = 16000
) -> list[Clip]:
    """Cut a clip into pieces of at most ``max_samples``, named by their times in centiseconds.

    A reference cannot be divided with the audio: pieces have none.

    Args:
        clip: what ``wave_S`` is.
        wave_S: (S,) its samples.
        max_samples: longest piece.
        sample_rate: in Hz.
    """
    borders = [0, *quiet_cuts(wave_S, max_samples, sample_rate), len(wave_S)]
    if len(borders) == 2:
        return [clip]
    return [
        replace(
            clip,
            id=f"{clip.id}-{_centiseconds(first, sample_rate)}-{_centiseconds(stop, sample_rate)}",
            source_id=clip.source_id or clip.id,
            text=None,
            start=clip.start + first,
            samples=stop - first,
            ranged=True,
            continues=first > 0,
        )
        for first, stop in itertools.pairwise(borders)
    ]


def _centiseconds(sample: int, sample_rate: int) -> str:
    return f"{round(100 * sample / sample_rate):07d}"
