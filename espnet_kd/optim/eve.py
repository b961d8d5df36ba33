"""Eve, the optimiser of icefall's transducer recipes: Adam whose weight decay stops in time.

For step t = 1, 2, …, gradient g, and parameters p of root mean square rms(p)::

    m = b1 m + (1 - b1) g           v = b2 v + (1 - b2) g²
    p = (1 - w) p                   only where rms(p) > target_rms; never for scalars
    p = p - lr / (1 - b1^t) · m / (sqrt(v / (1 - b2^t)) + eps)

Unlike in AdamW the decay w is not multiplied by the learning rate: it pulls large parameters back
to the target at the same pace all through the training. Source: the behaviour of icefall's Eve
(pruned_transducer_stateless6, the MVQ-KD recipe of arXiv 2211.00508); written anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim import Optimizer

from espnet_kd.errors import ConfigError, KDError


class Eve(Optimizer):
    """Adam with a weight decay that only applies to parameters above a target size.

    Args:
        params: Parameters or groups.
        lr: Learning rate; published 3e-3 with the schedule :class:`espnet_kd.optim.Eden`.
        betas: Decay rates of the two moments; published (0.9, 0.98).
        eps: Added to sqrt(v) after its correction; published 1e-8.
        weight_decay: Share of a parameter that is lost per update, whatever the learning rate;
            published 1e-3.
        target_rms: Parameters of a smaller root mean square are not decayed; published 0.1.

    Raises:
        ConfigError: Impossible values, all at once.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 3e-3,
        betas: tuple[float, float] = (0.9, 0.98),
        eps: float = 1e-8,
        weight_decay: float = 1e-3,
        target_rms: float = 0.1,
    ) -> None:
        problems = [
            f"{name} is {value}; it must not be negative"
            for name, value in (("lr", lr), ("eps", eps), ("target_rms", target_rms))
            if not value >= 0.0
        ]
        if len(betas) != 2 or not all(0.0 <= beta < 1.0 for beta in betas):
            problems.append(f"betas are {betas}; both must lie in [0, 1)")
        if not 0.0 <= weight_decay <= 0.1:
            problems.append(
                f"weight_decay is {weight_decay}; it must lie in [0, 0.1], as it is a share per "
                "update"
            )
        if problems:
            raise ConfigError("Eve", problems)
        defaults = {
            "lr": lr,
            "betas": tuple(betas),
            "eps": eps,
            "weight_decay": weight_decay,
            "target_rms": target_rms,
        }
        super().__init__(params, defaults)

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
            for p in group["params"]:
                if p.grad is not None:
                    self._update(p, group)
        return loss

    def _update(self, p: Tensor, group: dict[str, Any]) -> None:
        """Apply the formula to one parameter."""
        gradient = p.grad
        assert gradient is not None
        if gradient.is_sparse:
            raise KDError("Eve takes no sparse gradients; set sparse=False in the embedding")
        state = self.state[p]
        if not state:
            state["step"] = 0
            state["exp_avg"] = torch.zeros_like(p)
            state["exp_avg_sq"] = torch.zeros_like(p)
        state["step"] += 1
        (beta1, beta2), step = group["betas"], state["step"]
        m, v = state["exp_avg"], state["exp_avg_sq"]
        m.lerp_(gradient, 1.0 - beta1)
        v.mul_(beta2).addcmul_(gradient, gradient, value=1.0 - beta2)
        if p.numel() > 1 and group["weight_decay"]:
            _shrink(p, group["weight_decay"], group["target_rms"])
        denominator = v.sqrt().mul_(1.0 / math.sqrt(1.0 - beta2**step)).add_(group["eps"])
        p.addcdiv_(m, denominator, value=-group["lr"] / (1.0 - beta1**step))


def _shrink(p: Tensor, weight_decay: float, target_rms: float) -> None:
    """Decay a parameter that is larger than wanted, without waiting for the GPU to compare."""
    is_large = p.norm() > target_rms * math.sqrt(p.numel())
    p.mul_(1.0 - weight_decay * is_large)
