"""A cast of synthetic speakers: who they are depends only on the seed and their number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from espnet_kd.data.espeak import Voice

_ACCENTS = ("en-us", "en-gb-x-rp", "en-gb-scotland", "en-us")
# fmt: off
_VARIANTS = (
    "m1", "f1", "m2", "f4", "m3", "linda", "m4", "Annie", "m5", "belinda", "m6", "steph", "m7",
    "aunty", "m8", "shelby", "adam", "quincy", "Alex", "norbert", "Andy", "edward", "benjamin",
    "rob", "caleb", "Michael", "david", "Mario", "Denis", "travis", "ian", "iven4", "klatt4",
    "grandma", "klatt3", "miguel", "klatt5", "zac", "klatt6", "michel", "Lee", "robert", "Gene",
    "steph2", "marcelo", "iven3", "grandpa",
)
# fmt: on
"""Variants whose sound repeats exactly from one process to the next (others use breath noise)."""


@dataclass(frozen=True)
class Speaker:
    """One synthetic person, and the microphone in front of them."""

    number: int
    """Position in the cast, from 0."""

    voice: Voice
    """How the engine is told to speak."""

    tilt: float
    """First-order spectral tilt of the microphone, -0.35 (dull) to 0.35 (bright)."""

    loudness_db: float
    """RMS of the speech in dB below full scale."""

    noise_db: float
    """RMS of the background noise, in dB below the speech."""


def cast(size: int, seed: int = 0) -> list[Speaker]:
    """Draw ``size`` speakers, all different; a longer cast begins with the shorter one."""
    return [_speaker(number, seed) for number in range(size)]


def _speaker(number: int, seed: int) -> Speaker:
    rng = np.random.default_rng([seed, 7, number])
    variant = _VARIANTS[number % len(_VARIANTS)]
    accent = _ACCENTS[(number + number // len(_VARIANTS)) % len(_ACCENTS)]
    voice = Voice(
        f"{accent}+{variant}",
        pitch=int(rng.integers(25, 75)),
        pitch_range=int(rng.integers(25, 80)),
        words_per_minute=int(rng.integers(140, 200)),
    )
    return Speaker(
        number,
        voice,
        tilt=float(rng.uniform(-0.35, 0.35)),
        loudness_db=float(rng.uniform(-28, -18)),
        noise_db=float(rng.uniform(-30, -12)),
    )


def record(
    wave_S: npt.NDArray[np.float32], speaker: Speaker, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Put clean speech (S,) in front of the speaker's microphone: tilt, level, noise.

    Level and noise vary by a few dB from utterance to utterance.
    """
    coloured_S = wave_S.copy()
    coloured_S[1:] -= np.float32(speaker.tilt) * wave_S[:-1]
    rms = float(np.sqrt(np.mean(coloured_S**2)) + 1e-9)
    target = 10 ** ((speaker.loudness_db + rng.uniform(-2, 2)) / 20)
    noise = target * 10 ** ((speaker.noise_db + rng.uniform(-3, 3)) / 20)
    noise_S = rng.standard_normal(len(wave_S)).astype(np.float32)
    noisy_S = coloured_S * np.float32(target / rms) + noise_S * np.float32(noise)
    return np.clip(noisy_S, -0.99, 0.99).astype(np.float32)
