"""Published architectures shrunk until a forward pass takes milliseconds."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from espnet_kd.encoder import SpeechEncoder, SpeechEncoderConfig
from espnet_kd.encoder.architectures import architecture

WIDTH, HEADS, UNITS, PROJECTION = 16, 4, 24, 12


def tiny_config(name: str, num_layers: int = 4, **changes: Any) -> SpeechEncoderConfig:
    """The named architecture with its strides, norms and pattern of layers, but tiny widths."""
    full = architecture(name)
    convs = [[8, kernel, stride] for _, kernel, stride in full.conv_layers]
    if not full.feature_projection:
        convs[-1][0] = WIDTH
    layers = full.to_dict()["layers"][:num_layers]
    for record in layers:
        record.update(num_heads=HEADS, head_dim=WIDTH // HEADS, ffn_dim=UNITS)
    values = {
        "conv_layers": convs,
        "embed_dim": WIDTH,
        "layers": layers,
        "pos_conv_kernel": 8,
        "pos_conv_groups": 4,
        "head_dim": PROJECTION if full.head_dim else 0,
        "num_buckets": 16 if full.num_buckets else 0,
        "max_distance": 24,
    }
    return full.replace(**{**values, **changes})


def build(config: SpeechEncoderConfig, seed: int = 0) -> SpeechEncoder:
    """A random encoder in eval mode; biases and norms are random too, or no test would see them."""
    torch.manual_seed(seed)
    model = SpeechEncoder.from_config(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Far from initialisation, attention maps are far from uniform.
            noise = torch.randn_like(parameter)
            parameter.add_(noise, alpha=0.4 if "q_proj" in name or "k_proj" in name else 0.1)
    return model


def tiny(name: str, num_layers: int = 4, seed: int = 0, **changes: Any) -> SpeechEncoder:
    """``build(tiny_config(...))``."""
    return build(tiny_config(name, num_layers, **changes), seed)


def waves(*lengths: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A zero-padded batch of noise (B, S) and its lengths (B,)."""
    generator = torch.Generator().manual_seed(seed)
    x_BS = torch.zeros(len(lengths), max(lengths))
    for row, samples in zip(x_BS, lengths, strict=True):
        row[:samples] = 0.3 * torch.randn(samples, generator=generator)
    return x_BS, torch.tensor(lengths)


def close(ours: Tensor, theirs: Tensor, atol: float = 1e-5) -> None:
    """Equality up to float32 rounding."""
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=atol)


def all_close(ours: list[Tensor], theirs: list[Tensor], atol: float = 1e-5) -> None:
    """Two lists of hidden states, equal in number and value."""
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        close(one, other, atol)
