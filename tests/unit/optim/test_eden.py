"""Eden: values by hand, the scheduler around it, resuming."""

from __future__ import annotations

import pytest
import torch

from espnet_kd.errors import ConfigError
from espnet_kd.optim import Eden, eden


def sgd(*rates: float) -> torch.optim.Optimizer:
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in rates]
    return torch.optim.SGD(groups, lr=1.0)


def test_values_by_hand() -> None:
    assert eden(0, 0, 5000, 6) == 1.0
    assert eden(5000, 0, 5000, 6) == pytest.approx(2**-0.25)
    assert eden(5000, 6, 5000, 6) == pytest.approx(2**-0.5)
    assert eden(30, 12, 10, 4) == pytest.approx(0.1**0.5), "((9 + 1) (9 + 1))^-1/4"


def test_far_out_it_falls_as_a_power() -> None:
    """1/sqrt(k) at a fixed epoch."""
    assert eden(4_000_000, 0, 5000, 6) / eden(1_000_000, 0, 5000, 6) == pytest.approx(0.5, rel=1e-4)


def test_warm_up() -> None:
    plain = [eden(k, 0, 100, 6) for k in (1, 2, 4, 9)]
    warm = [eden(k, 0, 100, 6, warmup_batches=4, warmup_start=0.2) for k in (1, 2, 4, 9)]
    shares = [one / other for one, other in zip(warm, plain, strict=True)]
    assert shares == pytest.approx([0.4, 0.6, 1.0, 1.0])


def test_every_group_by_updates_and_epochs() -> None:
    optimizer = sgd(1.0, 0.1)
    schedule = Eden(optimizer, lr_batches=3, lr_epochs=2)
    expected = []
    for epoch in range(3):
        schedule.set_epoch(epoch)
        for _ in range(2):
            found = [group["lr"] for group in optimizer.param_groups]
            update = len(expected) + 1
            expected.append(eden(update, epoch, 3, 2))
            assert found == pytest.approx([expected[-1], 0.1 * expected[-1]])
            schedule.step()
    assert expected == sorted(expected, reverse=True)


def test_goes_on_from_its_state() -> None:
    whole = sgd(1.0)
    schedule = Eden(whole, 3, 2, warmup_batches=4)
    schedule.set_epoch(1)
    for _ in range(3):
        schedule.step()
    again = sgd(7.0)
    resumed = Eden(again, 3, 2, warmup_batches=4)
    again.load_state_dict(whole.state_dict())
    resumed.load_state_dict(schedule.state_dict())
    for part in (schedule, resumed):
        part.set_epoch(2)
        part.step()
    assert again.param_groups[0]["lr"] == whole.param_groups[0]["lr"] == eden(5, 2, 3, 2, 4)


def test_problems_come_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        Eden(sgd(1.0), lr_batches=0, lr_epochs=-1, warmup_batches=-1, warmup_start=2)
    assert len(caught.value.problems) == 4
