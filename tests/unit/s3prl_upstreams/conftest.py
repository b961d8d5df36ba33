from __future__ import annotations

import pytest
import torch

from espnet_kd.encoder import SpeechEncoder
from espnet_kd.encoder.architectures import architecture
from espnet_kd.encoder.config import LayerConfig


def tiny_config(**changes):
    """ARMHuBERT's shape with four layers of 16 channels; the whole published front end's stride."""
    layers = [
        LayerConfig(attention=kind, num_heads=2, head_dim=8, ffn_dim=24)
        for kind in ("full", "reused", "full", "reused")
    ]
    conv = [[8, 10, 5], [8, 3, 2], [8, 3, 2], [8, 3, 2], [8, 3, 2], [8, 2, 2], [16, 2, 2]]
    return architecture("armhubert").replace(
        layers=layers, conv_layers=conv, embed_dim=16, pos_conv_kernel=8, pos_conv_groups=2,
        head_dim=12, **changes
    )  # fmt: skip


@pytest.fixture
def load_model(monkeypatch):
    """Let the expert 'load' a random tiny student; returns the calls it made."""
    calls = []

    def load(path, config=None, **overrides):
        calls.append((path, config, overrides))
        torch.manual_seed(0)
        return SpeechEncoder.from_config(tiny_config(**overrides)).eval()

    monkeypatch.setattr("espnet_kd.load_model", load)
    return calls
