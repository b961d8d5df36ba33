"""Small recordings, good and bad, made on the spot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

WriteWave = Callable[..., Path]


@pytest.fixture
def write_wave(tmp_path: Path) -> WriteWave:
    """Return ``write(name, samples=16000, rate=16000, channels=1, subtype=...)`` -> path."""

    def write(
        name: str = "a.wav",
        samples: int = 16000,
        rate: int = 16000,
        channels: int = 1,
        subtype: str | None = None,
        seed: int = 0,
    ) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        wave_SC = np.random.default_rng(seed).uniform(-0.5, 0.5, (samples, channels))
        file_format = "NIST" if name.endswith(".sph") else None
        soundfile.write(str(path), wave_SC, rate, subtype=subtype, format=file_format)
        return path

    return write
