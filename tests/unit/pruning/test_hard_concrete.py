"""Gates: what they do in training and evaluation, and the published defects that are mended."""

from __future__ import annotations

import pytest
import torch

from espnet_kd.pruning import HardConcrete


def gate(values: list[float]) -> HardConcrete:
    made = HardConcrete(len(values))
    with torch.no_grad():
        made.log_alpha.copy_(torch.tensor(values))
    return made


def test_samples_follow_the_open_probability() -> None:
    torch.manual_seed(0)
    made = gate([-3.0, 0.0, 2.0])
    draws = torch.stack([made() for _ in range(4000)])
    assert draws.min() == 0
    assert draws.max() == 1
    share = (draws > 0).float().mean(0)
    assert torch.allclose(share, made.open_probability().detach().float(), atol=0.03)


def test_the_mask_is_deterministic_and_soft() -> None:
    made = gate([-4.0, 0.5, 3.0, -5.0]).eval()
    assert torch.equal(made(), made())
    assert (made() == 0).tolist() == [True, False, False, True]
    assert 0.5 < float(made()[1].detach()) < 0.7


def test_the_mask_follows_the_gate_even_in_evaluation() -> None:
    made = gate([3.0, 3.0]).eval()
    assert (made() > 0).all()
    made.load_state_dict({"log_alpha": torch.tensor([-9.0, 3.0])})
    assert (made() == 0).tolist() == [True, False]


def test_gradients_pass_the_mask_in_evaluation() -> None:
    made = gate([-9.0, 1.0]).eval()
    made().sum().backward()
    assert made.log_alpha.grad is not None
    assert made.log_alpha.grad[0] == 0
    assert made.log_alpha.grad[1] > 0


@pytest.mark.parametrize(("value", "closed"), [(-1.7, 1), (-1.5, 0)])
def test_a_single_gate_closes_when_it_is_more_likely_closed(value: float, closed: int) -> None:
    assert gate([value]).expected_closed() == closed
