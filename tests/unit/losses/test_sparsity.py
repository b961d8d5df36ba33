"""The Lagrangian's value, its gradients' signs, and the target's warm-up."""

from __future__ import annotations

import pytest
import torch

from espnet_kd.losses import SparsityLagrangian
from espnet_kd.losses.sparsity import warmed_up_target


def test_value_and_gradients() -> None:
    lagrangian = SparsityLagrangian()
    lagrangian.load_state_dict({"lambda1": torch.tensor(-0.5), "lambda2": torch.tensor(2.0)})
    expected = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    terms = lagrangian(expected, 0.5)
    assert terms["loss"].item() == pytest.approx(-0.5 * -0.2 + 2.0 * 0.04)
    terms["loss"].backward()
    assert expected.grad is not None
    assert expected.grad.item() == pytest.approx(-0.5 + 2 * 2.0 * -0.2)
    assert lagrangian.lambda1.grad.item() == pytest.approx(-0.2)
    assert lagrangian.lambda2.grad.item() == pytest.approx(0.04)
    assert terms["sparsity_expected"].item() == pytest.approx(0.3)
    assert terms["sparsity_target"].item() == pytest.approx(0.5)


def test_nothing_pulls_at_the_start() -> None:
    assert SparsityLagrangian()(torch.tensor(0.1), 0.0)["loss"].item() == 0


@pytest.mark.parametrize(("done", "wanted"), [(0, 0.0), (1, 0.15), (4, 0.6), (9, 0.6)])
def test_warm_up(done: int, wanted: float) -> None:
    assert warmed_up_target(0.6, done, 4) == pytest.approx(wanted)


def test_no_warm_up() -> None:
    assert warmed_up_target(0.6, 0, 0) == 0.6
