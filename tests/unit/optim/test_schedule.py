"""Linear warm-up and decay: corner values, the scheduler around it, resuming."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from espnet_kd.errors import ConfigError
from espnet_kd.optim import LinearWarmupDecay, ScheduledAdamW, linear_warmup_decay


def _sgd(*lrs: float) -> torch.optim.Optimizer:
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in lrs]
    return torch.optim.SGD(groups, lr=1.0)


def test_corner_values() -> None:
    values = [linear_warmup_decay(step, 4, 10) for step in range(1, 13)]
    expected = [0.25, 0.5, 0.75, 1.0, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6, 0.0, 0.0, 0.0]
    assert values == pytest.approx(expected)
    assert linear_warmup_decay(1, 0, 2) == 0.5


@given(total=st.integers(1, 1000), share=st.floats(0.0, 0.99), step=st.integers(1, 2000))
def test_always_between_zero_and_one(total: int, share: float, step: int) -> None:
    assert 0.0 <= linear_warmup_decay(step, share * total, total) <= 1.0


def test_scheduler_scales_every_group_and_starts_above_zero() -> None:
    optimizer = _sgd(1.0, 0.1)
    scheduler = LinearWarmupDecay(optimizer, 10, warmup_steps=4)
    seen = []
    for _ in range(11):
        seen.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    expected = [linear_warmup_decay(k, 4, 10) for k in range(1, 12)]
    assert [lrs[0] for lrs in seen] == pytest.approx(expected)
    assert [lrs[1] for lrs in seen] == pytest.approx([0.1 * f for f in expected])


def test_default_warmup_is_the_published_share() -> None:
    assert LinearWarmupDecay(_sgd(1.0), 200).warmup_steps == 10.0
    assert LinearWarmupDecay(_sgd(1.0), 200, warmup_proportion=0.25).warmup_steps == 50.0


def test_resuming(tmp_path) -> None:
    def run(optimizer: torch.optim.Optimizer, scheduler: LinearWarmupDecay, steps: int) -> float:
        for _ in range(steps):
            optimizer.step()
            scheduler.step()
        return optimizer.param_groups[0]["lr"]

    optimizer = _sgd(1.0)
    scheduler = LinearWarmupDecay(optimizer, 20)
    run(optimizer, scheduler, 7)
    torch.save([optimizer.state_dict(), scheduler.state_dict()], tmp_path / "state.pt")
    expected = run(optimizer, scheduler, 5)
    resumed = _sgd(1.0)
    again = LinearWarmupDecay(resumed, 20)
    states = torch.load(tmp_path / "state.pt", weights_only=True)
    resumed.load_state_dict(states[0])
    again.load_state_dict(states[1])
    assert run(resumed, again, 5) == expected
    longer = LinearWarmupDecay(_sgd(1.0), 40)
    with pytest.warns(UserWarning, match="total_steps was 20 in the checkpoint and is 40 now"):
        longer.load_state_dict(states[1])
    assert longer.total_steps == 40
    assert longer.last_epoch == 7


def test_two_schedules_at_once_are_refused() -> None:
    optimizer = ScheduledAdamW([torch.nn.Parameter(torch.zeros(1))], total_steps=10)
    with pytest.raises(ConfigError, match="schedule of its own"):
        LinearWarmupDecay(optimizer, 10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"total_steps": 0}, "total_steps is 0"),
        ({"total_steps": 5, "warmup_steps": 5}, r"must lie in \[0, 5\)"),
        ({"total_steps": 5, "warmup_steps": 1, "warmup_proportion": 0.1}, "choose one"),
    ],
)
def test_bad_options(options: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LinearWarmupDecay(_sgd(1.0), **options)
