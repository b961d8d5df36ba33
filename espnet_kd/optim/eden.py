"""Eden, the learning-rate schedule of icefall's transducer recipes.

With k updates (from 1), e finished epochs, and f the factor of every group's own rate::

    f = ((k² + B²) / B²)^-1/4 · ((e² + E²) / E²)^-1/4 · warm-up

It is 1 at the start and falls like 1/sqrt(k e) once k is beyond ``lr_batches`` B and e beyond
``lr_epochs`` E; it never asks how long the run will be. Source: the formula of icefall's Eden
(pruned_transducer_stateless6, the MVQ-KD recipe of arXiv 2211.00508); the linear warm-up is that of
icefall's later recipes, and off in this one.
"""

from __future__ import annotations

from typing import Any

from torch.optim import Optimizer

from espnet_kd.errors import ConfigError


def eden(
    update: int,
    epoch: int,
    lr_batches: float,
    lr_epochs: float,
    warmup_batches: float = 0.0,
    warmup_start: float = 0.5,
) -> float:
    """Return the factor of the learning rate.

    Args:
        update: Number of the update, the first is 1.
        epoch: Finished epochs.
        lr_batches: Updates B from which the rate falls.
        lr_epochs: Epochs E from which it falls.
        warmup_batches: The warm-up's factor is 1 from here on; 0 = no warm-up.
        warmup_start: The factor before the first update, from which it rises linearly.
    """
    by_update = (1.0 + (update / lr_batches) ** 2) ** -0.25
    by_epoch = (1.0 + (epoch / lr_epochs) ** 2) ** -0.25
    if update >= warmup_batches:
        return float(by_update * by_epoch)
    warmup = warmup_start + (1.0 - warmup_start) * update / warmup_batches
    return float(by_update * by_epoch * warmup)


class Eden:
    """Scheduler around :func:`eden`; call ``step`` after every update, ``set_epoch`` before epochs.

    Args:
        optimizer: Its groups' learning rates are the bases; published 3e-3.
        lr_batches: Updates from which the rate falls; published 5000.
        lr_epochs: Epochs from which the rate falls; published 6.
        warmup_batches: Length of a linear warm-up in updates; published 0.
        warmup_start: Where the warm-up begins, as a share; later icefall recipes 0.5.

    Raises:
        ConfigError: Impossible values, all at once.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        lr_batches: float = 5000.0,
        lr_epochs: float = 6.0,
        warmup_batches: float = 0.0,
        warmup_start: float = 0.5,
    ) -> None:
        problems = [
            f"{name} is {value}; it must be above 0"
            for name, value in (("lr_batches", lr_batches), ("lr_epochs", lr_epochs))
            if not value > 0
        ]
        if not warmup_batches >= 0:
            problems.append(f"warmup_batches is {warmup_batches}; it must not be negative")
        if not 0.0 <= warmup_start <= 1.0:
            problems.append(f"warmup_start is {warmup_start}; it must lie in [0, 1]")
        if problems:
            raise ConfigError("Eden", problems)
        self.optimizer = optimizer
        self.shape = (lr_batches, lr_epochs, warmup_batches, warmup_start)
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self.base_lrs = [float(group["initial_lr"]) for group in optimizer.param_groups]
        self.updates_done = 0
        self.epochs_done = 0
        self._apply()

    def step(self) -> None:
        """An update is made: go on to the next one's rate."""
        self.updates_done += 1
        self._apply()

    def set_epoch(self, epochs_done: int) -> None:
        """State how many epochs are finished."""
        self.epochs_done = epochs_done
        self._apply()

    def _apply(self) -> None:
        factor = eden(self.updates_done + 1, self.epochs_done, *self.shape)
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = base * factor

    def state_dict(self) -> dict[str, Any]:
        """Updates and epochs so far, and the base rates."""
        names = ("updates_done", "epochs_done", "base_lrs")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where a saved run stopped; the schedule's shape is this object's."""
        self.updates_done = int(state_dict["updates_done"])
        self.epochs_done = int(state_dict["epochs_done"])
        self.base_lrs = [float(rate) for rate in state_dict["base_lrs"]]
        self._apply()
