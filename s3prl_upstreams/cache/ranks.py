"""The processes of one distributed run share the work of the first pass."""

from __future__ import annotations

import torch.distributed as dist


def several() -> bool:
    """Whether this process is one of several."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def is_mine(key: bytes) -> bool:
    """Whether this process is to compute what is kept under a key: shares are about equal."""
    return not several() or int.from_bytes(key[:8], "big") % dist.get_world_size() == (
        dist.get_rank()
    )


def wait_for_all() -> None:
    """Go on when all processes are here."""
    if several():
        dist.barrier()
