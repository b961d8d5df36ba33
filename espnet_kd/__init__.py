"""espnet_kd: make a large speech model small, inside ESPnet and S3PRL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from espnet_kd.encoder import SpeechEncoder

__version__ = "0.1.0"
__all__ = ["__version__", "load_model", "register"]


def load_model(path: str, **overrides: Any) -> SpeechEncoder:
    """Load any supported checkpoint as one encoder in eval mode.

    Args:
        path: a native or Hugging Face directory, or a published file.
        **overrides: configuration fields to change, e.g. ``reuse_mode="ref"``.
    """
    from espnet_kd.checkpoints import load_model as load

    return load(path, **overrides)


def register() -> None:
    """Make every class and name of this package known to ESPnet and S3PRL (idempotent)."""
    from espnet_kd.registry import register as register_all

    register_all()
