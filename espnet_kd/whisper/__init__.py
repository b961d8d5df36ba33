"""Whisper: load, shrink, prepare labels; a model here is always a plain transformers Whisper."""

from __future__ import annotations

from espnet_kd.whisper.load import WhisperBundle, load_whisper, save_whisper
from espnet_kd.whisper.specials import SpecialIds
from espnet_kd.whisper.tokenizer import build_tokenizer

__all__ = [
    "SpecialIds",
    "WhisperBundle",
    "build_tokenizer",
    "load_whisper",
    "save_whisper",
]
