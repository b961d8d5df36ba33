"""Where paths that are written for CPUs may run: no graph of operations is being made or cast."""

from __future__ import annotations

import torch
from torch import Tensor


def is_eager_cpu(x: Tensor) -> bool:
    """Whether ``x`` is on a CPU, outside autocast, compilation and tracing."""
    return (
        x.device.type == "cpu"
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    )
