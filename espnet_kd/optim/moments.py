"""What optimisers with first and second moments share: their state, its steps, their checks."""

from __future__ import annotations

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim import Optimizer

from espnet_kd.errors import KDError

Bucket = tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]
"""Parameters, gradients, first and second moments."""


def moment_problems(betas: Sequence[float], **others: float) -> list[str]:
    """What is wrong with the decay rates of the moments, and which others are negative."""
    problems = [
        f"{name} is {value}; it must not be negative"
        for name, value in others.items()
        if not value >= 0.0
    ]
    if len(betas) != 2 or not all(0.0 <= beta < 1.0 for beta in betas):
        problems.append(f"betas are {betas}; both must lie in [0, 1)")
    return problems


class MomentOptimizer(Optimizer):
    """Base: updates all parameters of a group that are at the same step together."""

    @overload
    def step(self, closure: None = ...) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update all parameters that have a gradient; return the closure's loss, if any."""
        loss = None
        if closure is not None:
            with torch.set_grad_enabled(True):
                loss = closure()
        for group in self.param_groups:
            for step, tensors in self._advance(group).items():
                self._update(tensors, step, group)
        return loss

    @abstractmethod
    def _update(self, tensors: Bucket, step: int, group: dict[str, Any]) -> None:
        """Apply the formula for step ``step`` (from 1)."""

    def _advance(self, group: dict[str, Any]) -> dict[int, Bucket]:
        """Count the step of every parameter with a gradient and sort them by it.

        Returns:
            Step (from 1) -> lists of parameters, gradients, first and second moments.
        """
        by_step: dict[int, Bucket] = defaultdict(lambda: ([], [], [], []))
        for p in group["params"]:
            if p.grad is None:
                continue
            if p.grad.is_sparse:
                raise KDError(
                    f"{type(self).__name__} takes no sparse gradients; set sparse=False in the "
                    "embedding"
                )
            state = self.state[p]
            if not state:
                state["step"] = 0
                state["exp_avg"] = torch.zeros_like(p)
                state["exp_avg_sq"] = torch.zeros_like(p)
            state["step"] += 1
            gradient = -p.grad if group.get("maximize") else p.grad
            tensors = (p, gradient, state["exp_avg"], state["exp_avg_sq"])
            for collected, tensor in zip(by_step[state["step"]], tensors, strict=True):
                collected.append(tensor)
        return by_step
