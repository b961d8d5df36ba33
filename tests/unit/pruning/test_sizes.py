"""The size formulas against the models themselves, for every architecture."""

from __future__ import annotations

import pytest
import torch

from espnet_kd.encoder import LayerConfig, SpeechEncoder, SpeechEncoderConfig
from espnet_kd.encoder.architectures import architecture, list_architectures
from espnet_kd.evaluation.macs import count_macs as counted_macs
from espnet_kd.pruning.gates import EncoderGates
from espnet_kd.pruning.sizes import count_macs, count_parameters, parameter_total, sizes_of


def meta(config: SpeechEncoderConfig) -> SpeechEncoder:
    with torch.device("meta"):
        return SpeechEncoder.from_config(config)


def position_parameters(encoder: SpeechEncoder) -> int:
    """What the published formula leaves out (Q4)."""
    parts = ("position_bias.", ".attention.gate.")
    return sum(p.numel() for n, p in encoder.named_parameters() if any(part in n for part in parts))


@pytest.mark.parametrize("name", list_architectures())
def test_parameters_of_every_architecture(name: str) -> None:
    encoder = meta(architecture(name))
    formula = count_parameters(encoder.config, sizes_of(encoder.config))
    assert formula == parameter_total(encoder) - position_parameters(encoder)


@pytest.mark.parametrize("name", list_architectures())
@pytest.mark.parametrize("seconds", [1.0, 5.0])
def test_macs_of_every_architecture(name: str, seconds: float) -> None:
    config = architecture(name)
    counted = sum(counted_macs(config, round(seconds * config.sample_rate)).values())
    assert count_macs(config, sizes_of(config), seconds) == counted


def test_odd_shapes() -> None:
    config = architecture("wavlm_base").replace(
        conv_layers=[[11, 10, 5], [13, 3, 2], [17, 3, 2]],
        embed_dim=24,
        pos_conv_groups=4,
        total_heads=4,
        layers=[
            LayerConfig(num_heads=2, head_dim=5, ffn_dim=0, kept_heads=[0, 3]).__dict__,
            LayerConfig(attention="none", num_heads=0, ffn_dim=7).__dict__,
            LayerConfig(num_heads=4, head_dim=6, ffn_dim=9, time_reduction=2).__dict__,
        ],
    )
    encoder, sizes = meta(config), sizes_of(config)
    formula = count_parameters(config, sizes)
    assert formula == parameter_total(encoder) - position_parameters(encoder)
    assert count_macs(config, sizes, 2.0) == sum(counted_macs(config, 32000).values())


@pytest.mark.parametrize("measure", ["parameters", "macs"])
def test_expectations_are_differentiable_down_to_every_gate(measure: str) -> None:
    config = architecture("hubert_base").replace(conv_layers=[[8, 10, 5], [8, 3, 2]], embed_dim=64)
    gates = EncoderGates(config, ["conv", "head", "interm", "attlayer", "ffnlayer"])
    sizes = gates.expected_sizes()
    size = (
        count_parameters(config, sizes)
        if measure == "parameters"
        else count_macs(config, sizes, 1.0)
    )
    assert isinstance(size, torch.Tensor)
    size.backward()
    for name, gate in gates.named_gates():
        assert gate.log_alpha.grad is not None, name
        assert (gate.log_alpha.grad > 0).all(), name
