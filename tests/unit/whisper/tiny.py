"""Complete tiny Whisper directories; the vocabulary is the real one, all else is small."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch

from espnet_kd.errors import MissingDependencyError
from espnet_kd.whisper.create import create_whisper
from espnet_kd.whisper.load import WhisperBundle, save_whisper
from espnet_kd.whisper.tokenizer import build_tokenizer

HEADS = 4


@functools.cache
def tokenizer(multilingual: bool = True) -> Any:
    """The real tokenizer, built once per process; do not change it.

    A test that needs it skips where openai-whisper is not installed.
    """
    try:
        return build_tokenizer("multilingual" if multilingual else "english")
    except MissingDependencyError as error:
        pytest.skip(str(error))


def tiny_bundle(
    *,
    seed: int = 0,
    encoder_layers: int = 2,
    decoder_layers: int = 2,
    d_model: int = 32,
    max_source_positions: int = 1500,
    multilingual: bool = True,
    name: str = "tiny",
    **changes: Any,
) -> WhisperBundle:
    """A random model whose logits are far from uniform, biases and norms included."""
    bundle = create_whisper(
        tokenizer(multilingual),
        encoder_layers=encoder_layers,
        decoder_layers=decoder_layers,
        d_model=d_model,
        attention_heads=HEADS,
        ffn_dim=2 * d_model,
        max_source_positions=max_source_positions,
        seed=seed,
        name=name,
        **changes,
    )
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in bundle.model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(noise, alpha=0.1)
    return bundle


def tiny_whisper(folder: Path, **options: Any) -> Path:
    """Write :func:`tiny_bundle` (same options) to ``folder`` and return it."""
    save_whisper(tiny_bundle(name=folder.name, **options), folder)
    return folder
