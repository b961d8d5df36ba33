"""Tiny models and waveforms."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from espnet_kd.encoder import SpeechEncoderConfig
from espnet_kd.tasks.teacher import EncoderTeacher

sys.path.insert(0, str(Path(__file__).resolve().parent))
from tiny_models import tiny_student, tiny_teacher


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def student() -> SpeechEncoderConfig:
    return tiny_student()


@pytest.fixture
def teacher() -> EncoderTeacher:
    return EncoderTeacher("tiny", tiny_teacher())


@pytest.fixture
def speech() -> tuple[torch.Tensor, torch.Tensor]:
    """Three padded waveforms (B, S) and their lengths (B,)."""
    lengths_B = torch.tensor([9000, 7000, 5300])
    wave_BS = 0.1 * torch.randn(3, 9000)
    for row, length in zip(wave_BS, lengths_B.tolist(), strict=True):
        row[length:] = 0.0
    return wave_BS, lengths_B
