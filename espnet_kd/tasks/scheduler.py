"""Learning-rate schedules of the published runs as ESPnet's, stepped once per update.

``linear_warmup_decay`` (ARMHuBERT, DPHuBERT), and by transformers' names ``linear_with_warmup`` and
``constant_with_warmup`` (Distil-Whisper, whose ``lr_scheduler_type`` calls the first ``linear``);
``eden`` (icefall's recipes, MVQ-KD among them).
"""

from __future__ import annotations

from typing import Any

from espnet2.schedulers.abs_scheduler import AbsBatchStepScheduler
from torch.optim import Optimizer

from espnet_kd.errors import ConfigError
from espnet_kd.optim import Eden as EdenSchedule
from espnet_kd.optim import LinearWarmupDecay as LinearWarmupDecaySchedule


class LinearWarmupDecay(AbsBatchStepScheduler):
    """Every group's learning rate rises linearly from 0 and falls linearly to 0 again.

    Args:
        optimizer: its groups' rates are the peaks.
        total_steps: updates of the whole run; null = computed by our trainer when the run starts,
            from epochs, batches, accumulation and the real number of processes.
        warmup_steps: length of the rise in updates; or give
        warmup_proportion: its share of all updates (published 0.05, used when neither is given).
    """

    first_update = 1
    """Number of the first update: it has a rate already."""

    def __init__(
        self,
        optimizer: Optimizer,
        total_steps: int | None = None,
        warmup_steps: float | None = None,
        warmup_proportion: float | None = None,
    ) -> None:
        self.optimizer = optimizer
        self.warmup = (warmup_steps, warmup_proportion)
        self.schedule: LinearWarmupDecaySchedule | None = None
        if total_steps is not None:
            self.set_total_steps(total_steps)

    @property
    def needs_total_steps(self) -> bool:
        """Whether ``set_total_steps`` has still to be called."""
        return self.schedule is None

    @property
    def total_steps(self) -> int:
        """Updates of the whole run."""
        return self._known().total_steps

    def set_total_steps(self, total_steps: int) -> None:
        """State the length of the run; the first update's rate is in force from now on."""
        self.schedule = LinearWarmupDecaySchedule(
            self.optimizer, total_steps, *self.warmup, first_update=self.first_update
        )

    def _known(self) -> LinearWarmupDecaySchedule:
        if self.schedule is None:
            raise ConfigError(
                "scheduler linear_warmup_decay",
                ["this task's trainer does not count the updates; set scheduler_conf.total_steps"],
            )
        return self.schedule

    def step(self, epoch: int | None = None) -> None:
        """Go on to the next update's learning rate."""
        self._known().step()

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers."""
        return self._known().state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a saved run stopped."""
        self._known().load_state_dict(state)

    def __repr__(self) -> str:
        length = "unknown yet" if self.schedule is None else self.schedule.total_steps
        steps, proportion = self.warmup
        warmup = f"warmup_steps={steps}, warmup_proportion={proportion}"
        return f"{type(self).__name__}(total_steps={length}, {warmup})"


class LinearWithWarmup(LinearWarmupDecay):
    """The same with transformers' count: the first update of a warm-up has rate 0.

    Args:
        optimizer: its groups' rates are the peaks.
        warmup_steps: length of the rise in updates (published 500).
        total_steps: see :class:`LinearWarmupDecay`.
    """

    first_update = 0

    def __init__(
        self, optimizer: Optimizer, warmup_steps: int = 0, total_steps: int | None = None
    ) -> None:
        super().__init__(optimizer, total_steps, warmup_steps)


class ConstantWithWarmup(AbsBatchStepScheduler):
    """Every group's learning rate rises linearly from 0 and stays.

    Args:
        optimizer: its groups' rates are the peaks.
        warmup_steps: length of the rise in updates (published 50); the first update has rate 0.
    """

    def __init__(self, optimizer: Optimizer, warmup_steps: int = 0) -> None:
        from transformers import get_constant_schedule_with_warmup

        if warmup_steps < 0:
            raise ConfigError("scheduler_conf", [f"warmup_steps is {warmup_steps}; 0 or more"])
        self.warmup_steps = warmup_steps
        self.schedule = get_constant_schedule_with_warmup(optimizer, warmup_steps)

    def step(self, epoch: int | None = None) -> None:
        """Go on to the next update's learning rate."""
        self.schedule.step()

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers."""
        state: dict[str, Any] = self.schedule.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a saved run stopped."""
        self.schedule.load_state_dict(state)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(warmup_steps={self.warmup_steps})"


class Eden(AbsBatchStepScheduler):
    """Icefall's schedule, by updates and epochs; our trainer tells it of every epoch.

    Args:
        optimizer: its groups' rates are the bases (published 0.003).
        lr_batches: updates from which the rate falls (published 5000).
        lr_epochs: epochs from which it falls (published 6).
        warmup_batches: length of a linear warm-up in updates (published 0).
        warmup_start: where it begins, as a share of the rate.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        lr_batches: float = 5000.0,
        lr_epochs: float = 6.0,
        warmup_batches: float = 0.0,
        warmup_start: float = 0.5,
    ) -> None:
        self.schedule = EdenSchedule(optimizer, lr_batches, lr_epochs, warmup_batches, warmup_start)
        self.knows_epoch = False

    def start_epoch(self, epoch: int) -> None:
        """Training of ``epoch`` (from 1) begins."""
        self.knows_epoch = True
        self.schedule.set_epoch(epoch - 1)

    def step(self, epoch: int | None = None) -> None:
        """Go on to the next update's learning rate.

        Raises:
            ConfigError: nobody counts the epochs, so that the rate would not fall with them.
        """
        if not self.knows_epoch:
            raise ConfigError(
                "scheduler eden",
                ["this task's trainer does not tell it of epochs; take a task of espnet_kd.bin"],
            )
        self.schedule.step()

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers."""
        return self.schedule.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a saved run stopped."""
        self.schedule.load_state_dict(state)

    def __repr__(self) -> str:
        names = ("lr_batches", "lr_epochs", "warmup_batches", "warmup_start")
        shape = zip(names, self.schedule.shape, strict=True)
        return f"{type(self).__name__}({', '.join(f'{name}={value}' for name, value in shape)})"
