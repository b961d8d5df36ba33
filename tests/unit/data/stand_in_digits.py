"""People whose digits are pure tones, and SUPERB's layouts made of them without an engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from espnet_kd.data import superb
from espnet_kd.data.digits import Digits

PEOPLE = ("anna", "bert", "cleo", "dora")


def tone(person: int, digit: int, index: int) -> np.ndarray:
    """50-90 ms; the frequency tells person and digit, level and length the recording's number."""
    hertz = 200 + 400 * person + 30 * digit
    seconds = np.arange(800 + 40 * index) / 16000
    return (0.2 + index / 100) * np.sin(2 * np.pi * hertz * seconds).astype(np.float32)


def stand_in_digits() -> Digits:
    """Sixteen recordings of every digit by every person: 5 test, 5 dev, 6 training."""
    return {
        (name, digit, index): tone(person, digit, index)
        for person, name in enumerate(PEOPLE)
        for digit in range(10)
        for index in range(16)
    }


def make_superb(digits: Digits, root: Path, **options: object) -> Path:
    """Make layouts of these recordings, tiny, in this process and its children."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(superb, "load_digits", lambda source: digits)
        superb.prepare_superb("digits:fsdd", root, size="tiny", **options)  # type: ignore[arg-type]
    return root
