"""Layer-wise distillation: groups, padding, widths, wrong input."""

from __future__ import annotations

import pytest
import torch

from espnet_kd.errors import ConfigError
from espnet_kd.losses import LayerDistillLoss
from espnet_kd.losses.checks import LossInputError
from espnet_kd.losses.layer_distill import parse_layers


def states(number: int, width: int, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, 5, width, generator=generator) for _ in range(number)]


def test_layers_are_parsed() -> None:
    assert parse_layers("0.4,8,12") == [[0], [4, 8, 12]]
    assert parse_layers("3") == [[3]]


@pytest.mark.parametrize("text", ["", "0..1", "0.4,4", "a,b", "-1", 0.4])
def test_no_such_list(text: str) -> None:
    with pytest.raises(ConfigError, match="distill_layers"):
        parse_layers(text)


def test_equal_states_start_at_no_distance() -> None:
    loss = LayerDistillLoss([[0], [1, 2]], 6, 6, l2_weight=1.0)
    terms = loss(states(3, 6), states(3, 6))
    assert float(terms["loss_mse"]) == pytest.approx(0, abs=1e-12)
    assert float(terms["loss_l1"]) == pytest.approx(0, abs=1e-6)
    assert float(terms["loss_cos"]) == pytest.approx(-1)


def test_other_widths_get_ordinary_projections() -> None:
    loss = LayerDistillLoss([[0, 2]], 6, 8)
    terms = loss(states(3, 6), {0: states(1, 8)[0], 2: states(1, 8)[0]})
    assert torch.isfinite(terms["loss"])
    with pytest.raises(LossInputError, match="hidden state 0"):
        loss(states(3, 6), states(3, 6))


@pytest.mark.parametrize("cos_type", ["raw", "log_sig"])
@pytest.mark.parametrize("mode", ["layer2layer", "predlayer"])
def test_padding_counts_for_nothing(mode: str, cos_type: str) -> None:
    loss = LayerDistillLoss([[0], [2]], 6, 6, distill_mode=mode, l2_weight=0.5, cos_type=cos_type)
    student, teacher = states(3, 6), states(3, 6, seed=1)
    padding_BT = torch.zeros(2, 5, dtype=torch.bool)
    padding_BT[1, 3:] = True
    before = loss(student, teacher, padding_BT)
    for tensor in (*student, *teacher):
        tensor[1, 3:] = float("nan")
    after = loss(student, teacher, padding_BT)
    for name, term in before.items():
        assert torch.allclose(after[name], term), name


def test_without_padding_it_is_the_plain_mean() -> None:
    loss = LayerDistillLoss([[1]], 6, 6)
    student, teacher = states(2, 6), states(2, 6, seed=1)
    none = torch.zeros(2, 5, dtype=torch.bool)
    assert torch.allclose(loss(student, teacher)["loss"], loss(student, teacher, none)["loss"])
