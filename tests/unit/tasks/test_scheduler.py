"""linear_warmup_decay under ESPnet: one step per update, from every group's own rate."""

from __future__ import annotations

import pytest
import torch
from espnet2.schedulers.abs_scheduler import AbsBatchStepScheduler

from espnet_kd.errors import ConfigError
from espnet_kd.optim import eden
from espnet_kd.tasks.scheduler import (
    ConstantWithWarmup,
    Eden,
    LinearWarmupDecay,
    LinearWithWarmup,
)


def optimizer() -> torch.optim.Optimizer:
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    return torch.optim.SGD(
        [{"params": [p], "lr": lr} for p, lr in zip(parameters, (1.0, 4.0), strict=True)]
    )


def rates(sgd: torch.optim.Optimizer, scheduler: AbsBatchStepScheduler, steps: int) -> list[float]:
    found = []
    for _ in range(steps):
        found.append(sgd.param_groups[0]["lr"])
        assert sgd.param_groups[1]["lr"] == pytest.approx(4 * found[-1])
        sgd.step()
        scheduler.step()
    return found


def test_rises_and_falls() -> None:
    sgd = optimizer()
    scheduler = LinearWarmupDecay(sgd, total_steps=6, warmup_steps=2)
    assert isinstance(scheduler, AbsBatchStepScheduler)
    assert rates(sgd, scheduler, 6) == pytest.approx([0.5, 1.0, 0.75, 0.5, 0.25, 0.0])


def test_length_can_be_told_later() -> None:
    sgd = optimizer()
    scheduler = LinearWarmupDecay(sgd, warmup_proportion=0.5)
    assert scheduler.needs_total_steps
    with pytest.raises(ConfigError, match=r"set scheduler_conf\.total_steps"):
        scheduler.step()
    scheduler.set_total_steps(4)
    assert not scheduler.needs_total_steps
    assert rates(sgd, scheduler, 4) == pytest.approx([0.5, 1.0, 0.5, 0.0])


def test_goes_on_from_its_state() -> None:
    whole_sgd, sgd = optimizer(), optimizer()
    whole = LinearWarmupDecay(whole_sgd, total_steps=8)
    expected = rates(whole_sgd, whole, 8)
    first = LinearWarmupDecay(sgd, total_steps=8)
    found = rates(sgd, first, 3)
    again = optimizer()
    second = LinearWarmupDecay(again, total_steps=8)
    again.load_state_dict(sgd.state_dict())
    second.load_state_dict(first.state_dict())
    assert found + rates(again, second, 5) == expected


def test_transformers_schedules_begin_at_zero() -> None:
    sgd = optimizer()
    scheduler = LinearWithWarmup(sgd, warmup_steps=2, total_steps=6)
    assert rates(sgd, scheduler, 6) == pytest.approx([0.0, 0.5, 1.0, 0.75, 0.5, 0.25])
    sgd = optimizer()
    constant = ConstantWithWarmup(sgd, warmup_steps=2)
    assert rates(sgd, constant, 4) == pytest.approx([0.0, 0.5, 1.0, 1.0])
    with pytest.raises(ConfigError, match="warmup_steps is -1"):
        ConstantWithWarmup(sgd, warmup_steps=-1)


def test_transformers_schedules_go_on() -> None:
    for make in (
        lambda sgd: LinearWithWarmup(sgd, warmup_steps=2, total_steps=6),
        lambda sgd: ConstantWithWarmup(sgd, warmup_steps=3),
    ):
        whole, first, second = optimizer(), optimizer(), optimizer()
        expected = rates(whole, make(whole), 5)
        scheduler, resumed = make(first), make(second)
        begun = rates(first, scheduler, 2)
        resumed.load_state_dict(scheduler.state_dict())
        second.load_state_dict(first.state_dict())
        assert begun + rates(second, resumed, 3) == pytest.approx(expected)


def test_eden_is_told_of_epochs() -> None:
    """Its rate within an epoch falls by the updates, and at a new epoch by the epochs."""
    sgd = optimizer()
    scheduler = Eden(sgd, lr_batches=10, lr_epochs=1)
    assert isinstance(scheduler, AbsBatchStepScheduler)
    with pytest.raises(ConfigError, match="does not tell it of epochs"):
        scheduler.step()
    scheduler.start_epoch(1)
    first = rates(sgd, scheduler, 2)
    scheduler.start_epoch(2)
    found = first + rates(sgd, scheduler, 2)
    assert found == pytest.approx([eden(k, e, 10, 1) for k, e in ((1, 0), (2, 0), (3, 1), (4, 1))])
    assert "lr_batches=10, lr_epochs=1" in repr(scheduler)
    again = Eden(optimizer(), lr_batches=10, lr_epochs=1)
    again.load_state_dict(scheduler.state_dict())
    assert again.state_dict() == scheduler.state_dict()
