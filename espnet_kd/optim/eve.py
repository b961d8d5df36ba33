"""Eve, the optimiser of icefall's transducer recipes: Adam whose weight decay stops in time.

For step t = 1, 2, …, gradient g, and parameters p of root mean square rms(p)::

    m = b1 m + (1 - b1) g           v = b2 v + (1 - b2) g²
    p = (1 - w) p                   only where rms(p) > target_rms; never for scalars
    p = p - lr / (1 - b1^t) · m / (sqrt(v / (1 - b2^t)) + eps)

Unlike in AdamW the decay w is not multiplied by the learning rate: it pulls large parameters back
to the target at the same pace all through the training. Source: the behaviour of icefall's Eve
(pruned_transducer_stateless6, the MVQ-KD recipe of arXiv 2211.00508); written anew.

Shape suffix: P parameters.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from espnet_kd.errors import ConfigError
from espnet_kd.optim.moments import Bucket, MomentOptimizer, moment_problems


class Eve(MomentOptimizer):
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
        problems = moment_problems(betas, lr=lr, eps=eps, target_rms=target_rms)
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

    def _update(self, tensors: Bucket, step: int, group: dict[str, Any]) -> None:
        params, grads, first, second = tensors
        beta1, beta2 = group["betas"]
        torch._foreach_lerp_(first, grads, 1.0 - beta1)
        torch._foreach_mul_(second, beta2)
        torch._foreach_addcmul_(second, grads, grads, 1.0 - beta2)
        if group["weight_decay"]:
            _shrink(
                [p for p in params if p.numel() > 1], group["weight_decay"], group["target_rms"]
            )
        denominators = torch._foreach_sqrt(second)
        torch._foreach_mul_(denominators, 1.0 / math.sqrt(1.0 - beta2**step))
        torch._foreach_add_(denominators, group["eps"])
        torch._foreach_addcdiv_(params, first, denominators, -group["lr"] / (1.0 - beta1**step))


def _shrink(params: list[Tensor], weight_decay: float, target_rms: float) -> None:
    """Decay those that are larger than wanted, without waiting for a GPU to compare."""
    if not params:
        return
    norms_P = torch.stack(torch._foreach_norm(params))
    limits_P = norms_P.new_tensor([target_rms * math.sqrt(p.numel()) for p in params])
    factors_P = 1.0 - weight_decay * (norms_P > limits_P).to(norms_P.dtype)
    torch._foreach_mul_(params, list(factors_P.unbind()))
