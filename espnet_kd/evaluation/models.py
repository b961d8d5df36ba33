"""Find the model that a measurement is about: a checkpoint, or an architecture by name."""

from __future__ import annotations

from pathlib import Path

import torch

import espnet_kd
from espnet_kd.encoder import SpeechEncoder
from espnet_kd.encoder.architectures import architecture, list_architectures
from espnet_kd.errors import KDError


def find_model(model: str) -> SpeechEncoder:
    """Load a checkpoint, or build a published architecture with random weights.

    Args:
        model: path for ``load_model``, or a name of ``list_architectures()``; a path that exists
            wins over a name.

    Raises:
        KDError: neither; the known names are listed.
    """
    if Path(model).exists():
        return espnet_kd.load_model(model)
    if model not in list_architectures():
        names = ", ".join(list_architectures())
        raise KDError(f"{model}: no such checkpoint, and no architecture (known: {names})")
    torch.manual_seed(0)
    return SpeechEncoder.from_config(architecture(model)).eval()
