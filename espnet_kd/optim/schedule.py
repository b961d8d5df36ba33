"""Linear warm-up, then linear decay to zero: the learning-rate schedule of the published runs."""

from __future__ import annotations

import warnings
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from espnet_kd.errors import ConfigError


def linear_warmup_decay(step: float, warmup_steps: float, total_steps: float) -> float:
    """Return the multiplier f of the peak learning rate.

    Args:
        step: Number of the update, the first is 1.
        warmup_steps: f rises linearly to 1 here; may be fractional (published: 0.05 · total_steps).
        total_steps: f falls linearly to 0 here and stays 0.
    """
    if step < warmup_steps:
        return step / warmup_steps
    if step >= total_steps:
        return 0.0
    return (total_steps - step) / (total_steps - warmup_steps)


class LinearWarmupDecay(LambdaLR):
    """Scheduler around ``linear_warmup_decay`` for any optimiser; call ``step`` after every update.

    The k-th update (from 1) uses base_lr · f(k): the first update already has a rate above 0, as
    published. With gradient accumulation, step once per update, not per batch.

    Args:
        optimizer: Its groups' learning rates are the peaks.
        total_steps: Updates of the whole run.
        warmup_steps: Length of the warm-up in updates; or give
        warmup_proportion: its share of ``total_steps``; published 0.05, used when neither is given.
        last_epoch: Updates done so far minus one, as in torch; leave it and load the state instead.
        first_update: Number of the first update; 0 as in transformers and Distil-Whisper: the first
            update of a warm-up has rate 0, and the last of the run is above it.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_steps: int,
        warmup_steps: float | None = None,
        warmup_proportion: float | None = None,
        last_epoch: int = -1,
        first_update: int = 1,
    ) -> None:
        problems = []
        if total_steps < 1:
            problems.append(f"total_steps is {total_steps}; it must be positive")
        if warmup_steps is not None and warmup_proportion is not None:
            problems.append("warmup_steps and warmup_proportion are both given; choose one")
        if warmup_steps is None:
            share = 0.05 if warmup_proportion is None else warmup_proportion
            warmup_steps = share * total_steps
        if not 0 <= warmup_steps < total_steps:
            problems.append(f"the warm-up of {warmup_steps} updates must lie in [0, {total_steps})")
        if any(group.get("total_steps") is not None for group in optimizer.param_groups):
            problems.append("the optimiser has a schedule of its own; leave out its total_steps")
        if problems:
            raise ConfigError("LinearWarmupDecay", problems)
        self.total_steps = total_steps
        self.warmup_steps = float(warmup_steps)
        self.first_update = first_update
        super().__init__(optimizer, self._factor, last_epoch)

    def _factor(self, updates_done: int) -> float:
        """Return f for the update after ``updates_done`` updates."""
        step = updates_done + self.first_update
        return linear_warmup_decay(step, self.warmup_steps, self.total_steps)

    def state_dict(self) -> dict[str, Any]:
        """Return plain numbers and lists; the schedule's shape is kept for comparison."""
        hidden = ("optimizer", "lr_lambdas")
        return {
            name: value
            for name, value in self.__dict__.items()
            if name not in hidden and not callable(value)
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from ``state_dict``; a shape that differs from this object's gives a warning."""
        state = dict(state_dict)
        for name in ("total_steps", "warmup_steps"):
            saved, now = state.pop(name, None), getattr(self, name)
            if saved is not None and saved != now:
                warnings.warn(
                    f"{name} was {saved} in the checkpoint and is {now} now; going on with {now}",
                    stacklevel=2,
                )
        self.__dict__.update(state)
