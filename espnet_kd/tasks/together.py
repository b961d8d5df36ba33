"""Distributed runs end together when their first process cannot start."""

from __future__ import annotations

import logging
import multiprocessing

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
