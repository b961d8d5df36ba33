"""How long a forward pass takes: process CPU time and wall time, real-time factor.

Procedure (the one the reference was measured with): the stated number of threads, white noise
``0.1 · randn``, one warm-up, then the median of n runs. CPU time of the process (all threads,
``time.process_time``) does not grow when other programs use the machine, wall time does; on a busy
machine compare CPU times, and only those of one session. On a GPU wall time is what counts; the
clock stops after the device has finished.

Shapes: B batch, S samples.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

SAMPLE_RATE = 16000


@dataclass(frozen=True)
class Timing:
    """Measured seconds of n runs of one thing."""

    cpu_seconds: tuple[float, ...]
    """Process CPU seconds of each run."""
    wall_seconds: tuple[float, ...]
    """Wall seconds of each run."""
    threads: int
    """Torch's intra-op threads during the runs."""

    @property
    def cpu(self) -> float:
        """Median CPU seconds."""
        return statistics.median(self.cpu_seconds)

    @property
    def wall(self) -> float:
        """Median wall seconds."""
        return statistics.median(self.wall_seconds)

    def to_dict(self) -> dict[str, float | int]:
        """Median and least of both clocks, number of runs and threads, for a JSON file."""
        return {
            "cpu_seconds": self.cpu,
            "cpu_seconds_min": min(self.cpu_seconds),
            "wall_seconds": self.wall,
            "wall_seconds_min": min(self.wall_seconds),
            "runs": len(self.cpu_seconds),
            "threads": self.threads,
        }


def measure(
    works: Mapping[str, Callable[[], object]],
    *,
    runs: int = 5,
    warmup: int = 1,
    threads: int = 1,
    device: str = "cpu",
) -> dict[str, Timing]:
    """Time several things in one session, alternating, so that a drift hits all alike.

    Args:
        works: name to a function without arguments.
        runs: timed rounds over all of them.
        warmup: untimed rounds before.
        threads: torch's intra-op threads.
        device: device to wait for before the clock is read.
    """
    cpu: dict[str, list[float]] = {name: [] for name in works}
    wall: dict[str, list[float]] = {name: [] for name in works}
    with use_threads(threads):
        for index in range(warmup + runs):
            for name, work in works.items():
                cpu_seconds, wall_seconds = _time_once(work, device)
                if index >= warmup:
                    cpu[name].append(cpu_seconds)
                    wall[name].append(wall_seconds)
    return {name: Timing(tuple(cpu[name]), tuple(wall[name]), threads) for name in works}


def real_time_factor(
    model: nn.Module,
    *,
    seconds: float = 16.0,
    batch: int = 1,
    runs: int = 5,
    threads: int = 1,
    device: str = "cpu",
) -> dict[str, float | int | str]:
    """Time a forward pass over noise, in eval mode and without gradients.

    Args:
        model: called with (B,S) float32 samples at 16 kHz.
        seconds: length of each utterance.
        batch: utterances per call.
        runs: timed calls.
        threads: torch's intra-op threads.
        device: where model and samples go.

    Returns:
        :meth:`Timing.to_dict` plus ``rtf_cpu`` and ``rtf_wall`` (seconds of computing per second
        of speech), ``seconds``, ``batch`` and ``device``.
    """
    model = model.to(device).eval()
    x_BS = noise(batch, seconds).to(device)
    with torch.inference_mode():
        timing = measure({"model": lambda: model(x_BS)}, runs=runs, threads=threads, device=device)[
            "model"
        ]
    speech = batch * seconds
    return {
        **timing.to_dict(),
        "rtf_cpu": timing.cpu / speech,
        "rtf_wall": timing.wall / speech,
        "seconds": seconds,
        "batch": batch,
        "device": device,
    }


def noise(batch: int, seconds: float, seed: int = 0) -> Tensor:
    """Return (B,S) samples ``0.1 · randn`` at 16 kHz, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(batch, round(seconds * SAMPLE_RATE), generator=generator)


@contextlib.contextmanager
def use_threads(threads: int) -> Iterator[None]:
    """Set torch's intra-op threads within the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _time_once(work: Callable[[], object], device: str) -> tuple[float, float]:
    _wait_for(device)
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    _wait_for(device)
    return time.process_time() - cpu, time.perf_counter() - wall


def _wait_for(device: str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
