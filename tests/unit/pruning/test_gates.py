"""Gates in an encoder: the same as multiplying every unit's output, and gone afterwards."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from espnet_kd.encoder import SpeechEncoder
from espnet_kd.pruning import EncoderGates
from espnet_kd.pruning.config import UNITS
from tests.unit.encoder.tiny import tiny

FAMILIES = ["hubert_base", "hubert_large", "wavlm_base", "wavlm_large", "armhubert", "starhubert"]
WAVES = torch.randn(2, 2400, generator=torch.Generator().manual_seed(1))
LENGTHS = torch.tensor([2400, 1700])


def settled(name: str) -> tuple[SpeechEncoder, EncoderGates]:
    torch.manual_seed(0)
    encoder = tiny(name).eval()
    gates = EncoderGates(encoder.config, UNITS).eval()
    for _, gate in gates.named_gates():
        nn.init.normal_(gate.log_alpha, 0.5, 2.0)
    return encoder, gates


def multiplied(mask: Tensor, dim: int) -> Callable[[nn.Module, object, Tensor], Tensor]:
    shape = [1, 1, 1]
    shape[dim] = -1
    return lambda _module, _inputs, output: output * mask.view(shape)


def before(mask: Tensor) -> Callable[[nn.Module, tuple[Tensor]], tuple[Tensor]]:
    return lambda _module, inputs: (inputs[0] * mask,)


def multiply_units(encoder: SpeechEncoder, gates: EncoderGates, masks: dict[str, Tensor]) -> None:
    """The definition: every unit's output times its gate, by hooks."""
    for index, block in enumerate(encoder.feature_extractor.conv_layers):
        if f"conv_{index}" in masks:
            block.register_forward_hook(multiplied(masks[f"conv_{index}"], 1))
    for index, layer in enumerate(encoder.layers):
        record = encoder.config.layers[index]
        if f"head_{gates.sources[index]}" in masks:
            heads = masks[f"head_{gates.sources[index]}"].repeat_interleave(record.head_dim)
            layer.attention.out_proj.register_forward_pre_hook(before(heads))
        if f"attlayer_{index}" in masks:
            layer.attention.out_proj.register_forward_hook(
                multiplied(masks[f"attlayer_{index}"], 2)
            )
        if layer.feed_forward is not None:
            layer.feed_forward.output.register_forward_pre_hook(before(masks[f"interm_{index}"]))
            layer.feed_forward.register_forward_hook(multiplied(masks[f"ffnlayer_{index}"], 2))


@pytest.mark.parametrize("name", FAMILIES)
def test_gating_is_multiplying_every_unit(name: str) -> None:
    encoder, gates = settled(name)
    masks = {key: mask.detach() for key, mask in gates.masks().items()}
    assert any((mask == 0).any() for mask in masks.values())
    with gates.applied(encoder, masks):
        gated = encoder(WAVES, LENGTHS).layer_outputs
    multiply_units(encoder, gates, masks)
    with pytest.MonkeyPatch.context() as patch:  # hooks want the blocks one by one
        patch.setattr("espnet_kd.encoder.channels_last.suits", lambda *_: False)
        wanted = encoder(WAVES, LENGTHS).layer_outputs
    for ours, theirs in zip(gated, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("name", FAMILIES)
def test_nothing_is_left_behind(name: str) -> None:
    encoder, gates = settled(name)
    names = list(encoder.state_dict())
    weights = {key: tensor.clone() for key, tensor in encoder.state_dict().items()}
    plain = encoder(WAVES, LENGTHS).layer_outputs
    with pytest.raises(RuntimeError, match="inside"), gates.applied(encoder):
        raise RuntimeError("inside")
    assert list(encoder.state_dict()) == names
    assert all(torch.equal(encoder.state_dict()[key], weights[key]) for key in names)
    for ours, theirs in zip(encoder(WAVES, LENGTHS).layer_outputs, plain, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", FAMILIES)
def test_gradients_reach_weights_and_gates(name: str) -> None:
    encoder, gates = settled(name)
    gates.train()
    with gates.applied(encoder):
        output = encoder(WAVES, LENGTHS)
    sum(state.square().mean() for state in output.layer_outputs).backward()
    without = {n for n, gate in gates.named_gates() if gate.log_alpha.grad is None}
    assert not without
    unused = ("mask_embedding", "heads.", "encoder_norm.", "channel_scale")
    for key, parameter in encoder.named_parameters():
        assert key.startswith(unused) or parameter.grad is not None, key


def test_layers_that_share_a_map_share_its_heads() -> None:
    encoder, gates = settled("armhubert")
    kinds = [layer.attention for layer in encoder.config.layers]
    assert "reused" in kinds
    heads = [name for name, _ in gates.named_gates() if name.startswith("head_")]
    assert len(heads) == kinds.count("full")
    lenders = {s for i, s in enumerate(gates.sources) if s != i}
    assert not {f"attlayer_{index}" for index in lenders} & set(dict(gates.named_gates()))


def test_channels_without_a_projection_stay() -> None:
    config = tiny("starhubert").config
    if config.feature_projection:
        config = config.replace(
            feature_projection=False,
            conv_layers=[*config.conv_layers[:-1], [config.embed_dim, 2, 2]],
        )
    names = dict(EncoderGates(config, ["conv"]).named_gates())
    assert len(names) == len(config.conv_layers) - 1
