"""One tiny multilingual and one English-only Whisper for all tests of the room."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.whisper import tiny


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """Multilingual, shared: do not change it."""
    return tiny.tokenizer()


@pytest.fixture(scope="session")
def english_tokenizer() -> Any:
    """English-only, shared: do not change it."""
    return tiny.tokenizer(multilingual=False)


@pytest.fixture(scope="session")
def teacher_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete directory with 4 + 4 layers and 2 s of context; do not write there."""
    folder = tmp_path_factory.mktemp("whisper") / "teacher"
    return tiny.tiny_whisper(folder, encoder_layers=4, decoder_layers=4, max_source_positions=100)
