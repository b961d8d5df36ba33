"""The shares of a long job in several processes, watched by the one that started them."""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from espnet_kd.errors import ConfigError
from espnet_kd.utils.options import too_small

POLL_SECONDS = 0.5
START_METHOD: Final = "spawn"
"""CUDA cannot be used in forked processes."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where the work is done; changes nothing in the results.

    Raises:
        ConfigError: numbers out of range.
    """

    nj: int = 1
    """Processes."""

    ngpu: int = 0
    """GPUs; process i uses the one with number i modulo ngpu. 0 = CPU."""

    dataloader_num_workers: int = 4
    """Threads of each process that read audio."""

    def __post_init__(self) -> None:
        """See that there is a process to do the work."""
        if problems := too_small(self, {"nj": 1, "ngpu": 0, "dataloader_num_workers": 1}):
            raise ConfigError("machine", problems)

    def device(self, rank: int) -> str:
        """Device of a process."""
        return f"cuda:{rank % self.ngpu}" if self.ngpu else "cpu"

    def share_threads(self) -> None:
        """In one of the processes: use its part of the CPU."""
        if not self.ngpu:
            torch.set_num_threads(max(1, torch.get_num_threads() // self.nj))


def processes_for(nj: int | None, ngpu: int) -> int:
    """How many processes: what was asked for, else one per GPU, or one."""
    return max(1, ngpu) if nj is None else nj


def run_shares(
    share: Callable[..., None], arguments: Sequence[Any], nj: int, reach: Callable[[float], None]
) -> None:
    """Call ``share(*arguments, rank, done)`` in each of ``nj`` processes.

    Args:
        share: a function of a module; it adds to ``done.value`` what it has done.
        arguments: its first arguments; they are pickled.
        nj: processes.
        reach: is called with the sum of what they have done.

    Raises:
        ProcessExitedException: one of them failed; see :mod:`espnet_kd.bin.spawned`.
    """
    from torch.multiprocessing.spawn import ProcessContext

    context: Any = multiprocessing.get_context(START_METHOD)
    done = [context.Value("d", 0.0) for _ in range(nj)]
    processes = [
        context.Process(target=share, args=(*arguments, rank, done[rank])) for rank in range(nj)
    ]
    with tempfile.TemporaryDirectory() as nothing:
        for process in processes:
            process.start()
        unused = [str(Path(nothing) / str(rank)) for rank in range(nj)]
        joined = ProcessContext(processes, unused)  # type: ignore[no-untyped-call]
        while not joined.join(timeout=POLL_SECONDS):
            so_far = sum(value.value for value in done)
            if so_far:  # the clock starts when the models are loaded
                reach(so_far)
    reach(sum(value.value for value in done))


def end_with_parent() -> None:
    """In one of the processes: end where the one that started it was killed.

    Otherwise it would go on beside a run that is started again.
    """
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        raise SystemExit(1)
