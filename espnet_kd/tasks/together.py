"""Distributed runs end together: when the first process cannot start, and when one ends early."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
from collections.abc import Iterator

import torch

from espnet_kd.errors import KDError

_LOG = logging.getLogger(__name__)


def announce(error: KDError) -> None:
    """Say at once why the first process cannot start: it may wait long until it can tell others."""
    if multiprocessing.parent_process() is None:  # of a spawned one its parent will say it
        _LOG.error(f"the first process cannot start and will tell the others: {error}")


def agree_to_start(error: KDError | None) -> None:
    """End all processes if the first one cannot start; else they would wait for it.

    To be called by every process once the process group is there.

    Args:
        error: why this process cannot start; only that of rank 0 counts.

    Raises:
        KDError: rank 0 cannot start.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        told = [None if error is None else str(error)]
        torch.distributed.broadcast_object_list(told, src=0)
        torch.distributed.barrier()  # nobody leaves before all have heard
        if error is None and told[0] is not None:
            raise KDError(told[0])
    if error is not None:
        raise error


@contextlib.contextmanager
def explain_lost_peer() -> Iterator[None]:
    """Within the block a process that has lost another one says so, instead of a traceback.

    Raises:
        KDError: another process has ended.
    """
    try:
        yield
    except RuntimeError as error:
        if not _is_lost_peer(error):
            raise
        raise KDError(
            "another process of this run has ended, and this one cannot go on alone; the message "
            "of that process says why. Completed epochs are saved"
        ) from error


def _is_lost_peer(error: RuntimeError) -> bool:
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return False
    if isinstance(error, torch.distributed.DistError):  # NCCL, the store
        return True
    # gloo raises a bare RuntimeError with the words of the operating system.
    return "closed by peer" in str(error) or "reset by peer" in str(error)
