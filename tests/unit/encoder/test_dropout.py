"""Our dropout on CPUs: probability, scale, gradient, independence, and when torch's own runs."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from espnet_kd.encoder.dropout import Dropout, dropout, random_bits


@pytest.mark.parametrize("p", [0.05, 0.1, 0.5, 0.9])
def test_probability_and_scale(p: float) -> None:
    torch.manual_seed(0)
    y = dropout(torch.ones(501, 1003), p)
    closed = (y == 0).float().mean().item()
    deviation = (p * (1 - p) / y.numel()) ** 0.5
    assert abs(closed - p) < 5 * deviation
    assert y[y != 0].unique().numel() == 1
    assert y.max().item() == pytest.approx(1 / (1 - p), rel=2e-4)
    assert y.mean().item() == pytest.approx(1.0, abs=5 * deviation / (1 - p))


def test_gradient_goes_where_values_went() -> None:
    torch.manual_seed(0)
    x = torch.randn(7, 11, requires_grad=True)
    y = dropout(x, 0.3)
    y.sum().backward()
    assert torch.allclose(x.grad * x.detach(), y.detach())
    assert 0 < (x.grad == 0).sum() < x.numel()


def test_neighbours_are_independent() -> None:
    """Four values share a draw: what its first tells of its second, third, fourth is nothing."""
    torch.manual_seed(0)
    closed = (dropout(torch.ones(400_000), 0.5) == 0).float().view(-1, 4)
    assert torch.corrcoef(closed.T).sub(torch.eye(4)).abs().max() < 0.02
    assert torch.corrcoef(closed.T[:, :-1].roll(1, 1)).sub(torch.eye(4)).abs().max() < 0.02
    bits = random_bits(400_001)
    assert bits.shape == (400_001,)
    assert bits.view(-1)[::4].lt(0).float().mean().item() == pytest.approx(0.5, abs=0.01)
    assert bits[3::4].lt(0).float().mean().item() == pytest.approx(0.5, abs=0.01)


def test_seed_decides_and_evaluation_does_nothing() -> None:
    layer, x = Dropout(0.2), torch.randn(5, 6)
    torch.manual_seed(3)
    first = layer(x)
    torch.manual_seed(3)
    assert torch.equal(layer(x), first)
    assert not torch.equal(layer(x), first)
    assert torch.equal(layer.eval()(x), x)


@pytest.mark.parametrize(
    ("p", "dtype"),
    [(0.0, torch.float32), (1.0, torch.float32), (0.3, torch.float64), (0.3, torch.bfloat16)],
)
def test_elsewhere_torchs_own_runs(p: float, dtype: torch.dtype) -> None:
    x = torch.randn(9, 9, dtype=dtype)
    torch.manual_seed(1)
    expected = F.dropout(x, p)
    torch.manual_seed(1)
    assert torch.equal(dropout(x, p), expected)
