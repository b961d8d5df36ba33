"""Hidden-state loss: layer map, by hand, padding, gradients, wrong input."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from espnet_kd.errors import ConfigError
from espnet_kd.losses import HiddenStateLoss, LossInputError
from espnet_kd.losses.hidden_states import supervising_layers


def states(number: int, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, 3, 4, generator=generator) for _ in range(number)]


@pytest.mark.parametrize(
    ("student", "teacher", "layers"),
    [
        (3, 12, [3, 7, 11]),
        (2, 32, [15, 31]),
        (1, 4, [3]),
        (4, 4, [0, 1, 2, 3]),
        (4, 6, [0, 1, 3, 5]),
    ],
)
def test_layer_map(student: int, teacher: int, layers: list[int]) -> None:
    assert supervising_layers(student, teacher) == layers


def test_by_hand() -> None:
    """State 0 against 0, layer 1 against the teacher's last."""
    student = [torch.zeros(1, 2, 2), torch.ones(1, 2, 2)]
    teacher = [torch.full((1, 2, 2), 2.0), torch.zeros(1, 2, 2), torch.full((1, 2, 2), 4.0)]
    assert float(HiddenStateLoss(1, 2)(student, teacher)["loss"]) == 4.0 + 9.0


def test_padding_counts_for_nothing() -> None:
    student, teacher = states(3), states(5, seed=1)
    padding = torch.tensor([[False, False, False], [False, True, True]])
    loss = HiddenStateLoss(2, 4)
    before = loss(student, teacher, padding)["loss"]
    for tensor in (*student, *teacher):
        tensor[padding] = float("nan")
    assert torch.equal(loss(student, teacher, padding)["loss"], before)
    everything = torch.ones_like(padding)
    assert float(loss(student, teacher, everything)["loss"]) == 0.0


def test_no_gradient_flows_into_the_teacher() -> None:
    student, teacher = states(2), states(2, seed=1)
    for tensor in (*student, *teacher):
        tensor.requires_grad_()
    HiddenStateLoss(1, 1)(student, teacher)["loss"].backward()
    assert all(tensor.grad is not None for tensor in student)
    assert all(tensor.grad is None for tensor in teacher)


def test_wrong_input() -> None:
    with pytest.raises(ConfigError, match="5 student layers cannot follow 4"):
        HiddenStateLoss(5, 4)
    with pytest.raises(LossInputError, match="student gives 2 hidden states for 2 layers"):
        HiddenStateLoss(2, 4)(states(2), states(5))
    narrow = [tensor[..., :2] for tensor in states(5)]
    with pytest.raises(LossInputError, match="hidden states"):
        HiddenStateLoss(2, 4)(states(3), narrow)
