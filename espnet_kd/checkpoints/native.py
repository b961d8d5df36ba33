"""Our own format: a directory with ``config.json`` and ``model.safetensors``."""

from __future__ import annotations

import os
from typing import Any

from espnet_kd.encoder import SpeechEncoder


def save_native(model: SpeechEncoder, path: str | os.PathLike[str]) -> None:
    """Write ``model`` into directory ``path``, atomically."""
    model.save_pretrained(path)


def load_native(path: str | os.PathLike[str], **overrides: Any) -> SpeechEncoder:
    """Load what :func:`save_native` wrote, in eval mode; ``overrides`` change fields."""
    return SpeechEncoder.from_pretrained(path, **overrides)
