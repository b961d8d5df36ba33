"""Eve: trajectories in closed form, Adam where nothing is decayed, resuming."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from espnet_kd.errors import ConfigError, KDError
from espnet_kd.optim import Eve


def updated(p: torch.nn.Parameter, gradients: list[float], **options: float) -> torch.Tensor:
    eve = Eve([p], **options)  # type: ignore[arg-type]
    for value in gradients:
        p.grad = torch.full_like(p, value)
        eve.step()
    return p.detach()


def test_a_constant_gradient_moves_by_the_rate() -> None:
    """Both corrected moments are g and g² at every step: each update is lr · g / (|g| + eps)."""
    p = torch.nn.Parameter(torch.zeros(2, 3))
    found = updated(p, [4.0] * 5, lr=0.1, eps=0.5, weight_decay=0.0)
    torch.testing.assert_close(found, torch.full((2, 3), -5 * 0.1 * 4.0 / 4.5))


def test_two_steps_by_hand() -> None:
    p = torch.nn.Parameter(torch.tensor([1.0]))
    g1, g2, b1, b2 = 2.0, -1.0, 0.9, 0.98
    m = b1 * (1 - b1) * g1 + (1 - b1) * g2
    v = b2 * (1 - b2) * g1**2 + (1 - b2) * g2**2
    expected = 1 - 0.1 - 0.1 * (m / (1 - b1**2)) / math.sqrt(v / (1 - b2**2))
    assert updated(p, [g1, g2], lr=0.1).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("size", "decays"), [(0.11, True), (0.09, False)])
def test_only_large_parameters_are_decayed(size: float, decays: bool) -> None:
    """The decay does not depend on the learning rate: here that is 0."""
    p = torch.nn.Parameter(torch.tensor([size, -size, size]))
    found = updated(p, [1.0] * 3, lr=0.0, weight_decay=0.01)
    share = 0.99**3 if decays else 1.0
    torch.testing.assert_close(found, torch.tensor([size, -size, size]) * share)


def test_decay_stops_at_the_target() -> None:
    p = torch.nn.Parameter(torch.full((4,), 1.0))
    found = updated(p, [0.0] * 60, lr=0.1, weight_decay=0.1, target_rms=0.5)
    assert found[0].item() == pytest.approx(0.9**7), "the first power below 0.5"


def test_each_parameter_is_measured_alone() -> None:
    sizes = (0.05, 0.2, 0.3)
    parameters = [
        torch.nn.Parameter(torch.full((2, index + 1), s)) for index, s in enumerate(sizes)
    ]
    eve = Eve(parameters, lr=0.0, weight_decay=0.1)
    for p in parameters:
        p.grad = torch.ones_like(p)
    eve.step()
    assert [p[0, 0].item() for p in parameters] == pytest.approx([0.05, 0.18, 0.27])


def test_scalars_are_never_decayed() -> None:
    p = torch.nn.Parameter(torch.tensor(3.0))
    assert updated(p, [1.0], lr=0.0, weight_decay=0.1).item() == 3.0


def test_small_parameters_follow_adam() -> None:
    torch.manual_seed(0)
    ours, theirs = (torch.nn.Parameter(torch.zeros(5, 4)) for _ in range(2))
    eve = Eve([ours], lr=1e-3)
    adam = torch.optim.Adam([theirs], lr=1e-3, betas=(0.9, 0.98), eps=1e-8)
    for _ in range(8):
        gradient = torch.randn(5, 4)
        for p, optimizer in ((ours, eve), (theirs, adam)):
            p.grad = gradient.clone()
            optimizer.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


def test_goes_on_from_its_state() -> None:
    torch.manual_seed(0)
    gradients = torch.randn(6, 3)
    whole = torch.nn.Parameter(torch.ones(3))
    eve = Eve([whole], lr=0.01)
    for number, gradient in enumerate(gradients):
        if number == 3:
            rest, state = map(copy.deepcopy, (whole, eve.state_dict()))
            resumed = Eve([rest], lr=0.5)
            resumed.load_state_dict(state)
        whole.grad = gradient.clone()
        eve.step()
        if number >= 3:
            rest.grad = gradient.clone()
            resumed.step()
    assert torch.equal(whole, rest)


def test_parameters_without_gradient_stay() -> None:
    p = torch.nn.Parameter(torch.ones(3))
    Eve([p]).step()
    assert torch.equal(p, torch.ones(3))


def test_sparse_gradients_are_refused() -> None:
    table = torch.nn.Embedding(4, 2, sparse=True)
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(KDError, match="sparse"):
        Eve(table.parameters()).step()


def test_problems_come_at_once() -> None:
    p = torch.nn.Parameter(torch.zeros(1))
    with pytest.raises(ConfigError) as caught:
        Eve([p], lr=-1.0, betas=(1.0, 0.9), eps=-1.0, weight_decay=0.5, target_rms=-1.0)
    assert len(caught.value.problems) == 5
