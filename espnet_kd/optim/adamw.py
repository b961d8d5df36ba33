"""The optimiser of the published ARMHuBERT runs, called ``AdamW_with_schedule`` in S3PRL.

For step t = 1, 2, …, gradient g, schedule f and a decoupled decay w::

    m = b1 m + (1 - b1) g           v = b2 v + (1 - b2) g²
    p = p - lr f(t) sqrt(1 - b2^t) / (1 - b1^t) · (m / (sqrt(v) + eps) + w p)

It differs from ``torch.optim.AdamW`` in two points: the bias correction also scales the decay, and
eps is added before the correction. The published weight decay is 0.01 whatever the YAML says.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from espnet_kd.errors import ConfigError
from espnet_kd.optim.moments import Bucket, MomentOptimizer, moment_problems
from espnet_kd.optim.schedule import linear_warmup_decay


def decay_groups(
    named_parameters: Iterable[tuple[str, torch.nn.Parameter]],
    weight_decay: float = 0.01,
    no_decay: tuple[str, ...] = ("bias",),
) -> list[dict[str, Any]]:
    """Split parameters into a group with decay and one without, as the published runs do.

    Args:
        named_parameters: Names and parameters; frozen ones are left out.
        weight_decay: Decay of the first group; published 0.01 (norm weights and mask_emb included).
        no_decay: A parameter whose name contains one of these is not decayed; published ``bias``.

    Returns:
        Two optimiser groups, the decayed one first.
    """
    decayed: list[torch.nn.Parameter] = []
    plain: list[torch.nn.Parameter] = []
    for name, parameter in named_parameters:
        if parameter.requires_grad:
            (plain if any(part in name for part in no_decay) else decayed).append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]


class ScheduledAdamW(MomentOptimizer):
    """AdamW as published for ARMHuBERT, with its own or an outer learning-rate schedule.

    Args:
        params: Parameters or groups, see ``decay_groups``.
        lr: Peak learning rate; published 5e-3 (ARMHuBERT), 5e-4 (MaskHuBERT).
        betas: Decay rates of the two moments; published (0.9, 0.98).
        eps: Added to sqrt(v); published 1e-6.
        weight_decay: For groups without their own; published 0.01.
        total_steps: Updates of the whole run: the published linear schedule is applied inside.
            None: the learning rate is used as it is, for an outer ``LinearWarmupDecay``.
        warmup_proportion: Share of ``total_steps`` for the linear warm-up; published 0.05.
        foreach: Update all tensors of a group in few calls; False is the plain loop with equal
            results.
        maximize: Ascend instead of descend (multipliers of a Lagrangian).
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 5e-3,
        betas: tuple[float, float] = (0.9, 0.98),
        eps: float = 1e-6,
        weight_decay: float = 0.01,
        *,
        total_steps: int | None = None,
        warmup_proportion: float = 0.05,
        foreach: bool = True,
        maximize: bool = False,
    ) -> None:
        problems = moment_problems(betas, lr=lr, eps=eps, weight_decay=weight_decay)
        if total_steps is not None and total_steps < 1:
            problems.append(f"total_steps is {total_steps}; it must be positive")
        if not 0.0 <= warmup_proportion < 1.0:
            problems.append(f"warmup_proportion is {warmup_proportion}; it must lie in [0, 1)")
        if problems:
            raise ConfigError("ScheduledAdamW", problems)
        defaults = {
            "lr": lr,
            "betas": tuple(betas),
            "eps": eps,
            "weight_decay": weight_decay,
            "total_steps": total_steps,
            "warmup_proportion": warmup_proportion,
            "foreach": foreach,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _update(self, tensors: Bucket, step: int, group: dict[str, Any]) -> None:
        update = _update_foreach if group["foreach"] else _update_one_by_one
        update(*tensors, _step_size(group, step), group)

    def current_lrs(self) -> list[float]:
        """Return the learning rate that each group's next update will use, schedule included."""
        rates = []
        for group in self.param_groups:
            done = max(
                (self.state[p].get("step", 0) for p in group["params"] if p in self.state),
                default=0,
            )
            rates.append(group["lr"] * _schedule_factor(group, done + 1))
        return rates


def _schedule_factor(group: dict[str, Any], step: int) -> float:
    """Return f(step), 1 without a schedule of our own."""
    total: int | None = group["total_steps"]
    if total is None:
        return 1.0
    return linear_warmup_decay(step, group["warmup_proportion"] * total, total)


def _step_size(group: dict[str, Any], step: int) -> float:
    """Return lr · f(t) · sqrt(1 - b2^t) / (1 - b1^t)."""
    beta1, beta2 = group["betas"]
    correction: float = math.sqrt(1.0 - beta2**step) / (1.0 - beta1**step)
    lr: float = group["lr"]
    return lr * _schedule_factor(group, step) * correction


def _update_one_by_one(
    params: list[Tensor],
    grads: list[Tensor],
    first: list[Tensor],
    second: list[Tensor],
    size: float,
    group: dict[str, Any],
) -> None:
    """Apply the formula tensor by tensor: the readable reference."""
    beta1, beta2 = group["betas"]
    for p, g, m, v in zip(params, grads, first, second, strict=True):
        m.mul_(beta1).add_(g, alpha=1.0 - beta1)
        v.mul_(beta2).addcmul_(g, g, value=1.0 - beta2)
        update = m / (v.sqrt() + group["eps"]) + group["weight_decay"] * p
        p.sub_(update, alpha=size)


def _update_foreach(
    params: list[Tensor],
    grads: list[Tensor],
    first: list[Tensor],
    second: list[Tensor],
    size: float,
    group: dict[str, Any],
) -> None:
    """Apply the same formula to all tensors at once."""
    beta1, beta2 = group["betas"]
    torch._foreach_mul_(first, beta1)
    torch._foreach_add_(first, grads, alpha=1.0 - beta1)
    torch._foreach_mul_(second, beta2)
    torch._foreach_addcmul_(second, grads, grads, 1.0 - beta2)
    denominators = torch._foreach_sqrt(second)
    torch._foreach_add_(denominators, group["eps"])
    if group["weight_decay"]:
        torch._foreach_mul_(params, 1.0 - size * group["weight_decay"])
    torch._foreach_addcdiv_(params, first, denominators, -size)
