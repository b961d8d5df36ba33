"""Gradient scaling: the forward pass is untouched, the backward pass follows the formula."""

from __future__ import annotations

import pytest
import torch

from espnet_kd.encoder.gradient import depth_factor, scale_gradient
from tests.unit.encoder.tiny import all_close, close, tiny, waves


def test_scaling_is_the_identity_forward_and_a_factor_backward() -> None:
    x = torch.randn(3, requires_grad=True)
    y = scale_gradient(x, 0.25)
    assert torch.equal(y, x)
    y.sum().backward()
    assert torch.equal(x.grad, torch.full((3,), 0.25))


def test_factors_of_twelve_layers() -> None:
    factors = [depth_factor(i, 12) for i in range(12)]
    assert factors[0] == pytest.approx(12 / 13)
    assert factors[-1] == pytest.approx(1 / 2)
    assert factors == sorted(factors, reverse=True)


def test_scaling_changes_no_output() -> None:
    x_BS, _ = waves(3000)
    with torch.no_grad():
        scaled = tiny("armhubert", layer_grad_scale=True)(x_BS)
        plain = tiny("armhubert", layer_grad_scale=False)(x_BS)
    all_close(scaled.projections, plain.projections, atol=0.0)


@pytest.mark.parametrize("layer", range(4))
def test_a_heads_gradient_reaches_its_layer_scaled(layer: int) -> None:
    x_BS, _ = waves(3000)
    gradients = {}
    for scale in (True, False):
        model = tiny("maskhubert", layer_grad_scale=scale)
        model(x_BS).projections[layer].square().sum().backward()
        # Of the layer's last parameters: beyond them other layers' factors would enter.
        gradients[scale] = model.layers[layer].final_norm.bias.grad
        head = model.heads[layer].weight.grad
        gradients["head", scale] = head
    factor = depth_factor(layer, 4)
    close(gradients[True], gradients[False] * factor * (1 - factor))
    close(gradients["head", True], gradients["head", False])  # the head itself is not scaled


@pytest.mark.parametrize("layer", [0, 1])
def test_the_next_layers_gradient_reaches_a_layer_scaled(layer: int) -> None:
    x_BS, _ = waves(3000)
    gradients = {}
    for scale in (True, False):
        model = tiny("starhubert", layer_grad_scale=scale)
        model(x_BS).layer_outputs[layer + 1].square().sum().backward()
        gradients[scale] = model.layers[layer].final_norm.weight.grad
    expected = gradients[False] * depth_factor(layer, 4) * depth_factor(layer + 1, 4)
    close(gradients[True], expected)


@pytest.mark.parametrize("multiplier", [0.1, 0.0, -1.0])
def test_front_end_gradients(multiplier: float) -> None:
    x_BS, _ = waves(3000)
    gradients = []
    for factor in (1.0, multiplier):
        model = tiny("hubert_base", feature_grad_mult=factor)
        model(x_BS).last_hidden_state.square().mean().backward()
        gradients.append(model.feature_extractor.conv_layers[0].conv.weight.grad)
    if multiplier <= 0:
        assert gradients[1] is None
    else:
        close(gradients[1], gradients[0] * multiplier)
