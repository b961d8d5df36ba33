"""Speech Commands' layout for keyword spotting: ``WORD/SPEAKER_nohash_N.wav``.

The corpus itself decides by a hash of the speaker's name who is in its validation part; names
for synthetic speakers are searched so that they fall where they are wanted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from espnet_kd.data.recording import Recording, write_audio

TRAIN_ROOT, TEST_ROOT = "speech_commands", "speech_commands_test"
"""Folders of the training/validation part and of the test part."""

NOISE = "_background_noise_"
"""Folder of the recordings from which silence is cut."""

_RANGE = 2**27 - 1


def validation_percentage(name: str) -> float:
    """Where the corpus's own rule puts a speaker: below 10 is validation, 20 and up training."""
    digest = int(hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest(), 16)
    return (digest % (_RANGE + 1)) * 100.0 / _RANGE


def hashed_name(number: int, part: str) -> str:
    """Return the first hexadecimal name for speaker ``number`` that falls into ``part``.

    Args:
        number: position in the cast.
        part: ``train`` or ``valid``.
    """
    low, high = (0.0, 10.0) if part == "valid" else (20.0, 101.0)
    for trial in range(10000):
        name = f"{number * 10000 + trial:08x}"
        if low <= validation_percentage(name) < high:
            return name
    raise AssertionError("10000 hashes missed a tenth of the range")


def fit_one_second(wave_S: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Centre a word in exactly one second (16000 samples)."""
    if len(wave_S) >= 16000:
        start = (len(wave_S) - 16000) // 2
        return wave_S[start : start + 16000]
    before = (16000 - len(wave_S)) // 2
    return np.pad(wave_S, (before, 16000 - len(wave_S) - before))


def write_words(root: str | Path, name: str, recordings: Iterable[Recording]) -> int:
    """Write single words of one speaker; the recording's text names the folder.

    Returns:
        How many files were written.
    """
    count = 0
    for recording in recordings:
        path = Path(root) / recording.text.lower() / f"{name}_nohash_{recording.index}.wav"
        write_audio(path, fit_one_second(recording.wave_S))
        count += 1
    return count


def write_noise(folder: Path, rng: np.random.Generator, seconds: int = 4) -> None:
    """Write three kinds of background noise, each longer than the second that is cut from it."""
    white_S = rng.standard_normal(seconds * 16000).astype(np.float32)
    brown_S = np.cumsum(white_S - white_S.mean())
    hum_S = np.sin(2 * np.pi * 50 * np.arange(len(white_S)) / 16000) + 0.1 * white_S
    for name, wave_S in (("white", white_S), ("brown", brown_S), ("hum", hum_S)):
        level = 0.02 / float(np.abs(wave_S).max())
        write_audio(folder / f"{name}.wav", (wave_S * level).astype(np.float32))
