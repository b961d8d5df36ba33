"""Where a benchmark runs: the CPU, or one CUDA card with clock and memory of its own.

On the CPU what counts is CPU seconds of the process. On a card it is the time between two events on
its stream, both recorded with the card idle, and memory is what tensors take at the most: it does
not depend on the process, so no fresh one is needed.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from espnet_kd.evaluation.timing import Timing, measure

MIB = 2**20
DTYPES = ("float32", "bfloat16", "float16")
RUNS = {"cpu": 5, "cuda": 10}
"""Timed runs unless told otherwise."""
WARM_UP = {"cpu": 1, "cuda": 3}
"""Untimed runs: a card also picks kernels and grows its cache of memory."""

Movable = TypeVar("Movable", Tensor, nn.Module)


@dataclass(frozen=True)
class Clocked:
    """Runs of one thing, by the process's clocks and, on a card, by the card's."""

    timing: Timing
    device_seconds: tuple[float, ...] | None = None

    @property
    def seconds(self) -> tuple[float, ...]:
        """The clock that counts."""
        return self.device_seconds or self.timing.cpu_seconds

    @property
    def median(self) -> float:
        """Of the clock that counts."""
        return statistics.median(self.seconds)

    @property
    def least(self) -> float:
        """Of the clock that counts."""
        return min(self.seconds)

    def to_dict(self) -> dict[str, float | int]:
        """All clocks, for a JSON file."""
        figures = self.timing.to_dict()
        if self.device_seconds:
            figures |= {"device_seconds": self.median, "device_seconds_min": self.least}
        return figures


@dataclass(frozen=True)
class Place:
    """Device and number format of both sides of a benchmark."""

    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    threads: int = 1

    @classmethod
    def of(cls, args: argparse.Namespace) -> Place:
        """The place that the options name; ends the program where there is no such card."""
        if args.device == "cuda" and not torch.cuda.is_available():
            raise SystemExit("--device cuda: torch sees no CUDA card here")
        place = cls(args.device, getattr(torch, args.dtype), args.threads)
        if place.is_cuda:
            _wake_up(place.device)
        return place

    @property
    def is_cuda(self) -> bool:
        return self.device == "cuda"

    @property
    def home(self) -> torch.device:
        """Where tensors go."""
        return torch.device(self.device)

    def put(self, thing: Movable) -> Movable:
        """A module or tensor on the device, in the type that it has."""
        return thing.to(self.home)

    def cast(self, module: nn.Module) -> nn.Module:
        """A module for inference: on the device, in the place's type."""
        return module.to(self.home, self.dtype)

    def autocast(self) -> AbstractContextManager[Any]:
        """For training: weights stay float32, products have the place's type."""
        if self.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device, self.dtype)

    def measure(
        self, works: Mapping[str, Callable[[], object]], runs: int, warm_up: int | None = None
    ) -> dict[str, Clocked]:
        """Time several things in turns, after untimed runs (:data:`WARM_UP`)."""
        warm_up = WARM_UP[self.device] if warm_up is None else warm_up
        options: dict[str, Any] = {"runs": runs, "warmup": warm_up, "threads": self.threads}
        if not self.is_cuda:
            return {name: Clocked(timing) for name, timing in measure(works, **options).items()}
        clocks = {name: _EventClock(work) for name, work in works.items()}
        timings = measure(clocks, **options, device=self.device)
        return {
            name: Clocked(timing, clocks[name].seconds(runs)) for name, timing in timings.items()
        }

    @contextlib.contextmanager
    def peak(self) -> Iterator[Callable[[], float]]:
        """Within the block, and after it, the function tells the MiB that were taken in it at most.

        What a card's tensors take beyond those that were there before; 0 without a card.
        """
        if not self.is_cuda:
            yield lambda: 0.0
            return
        gc.collect()
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        yield lambda: (torch.cuda.max_memory_allocated() - before) / MIB
        torch.cuda.synchronize()

    def held(self) -> float:
        """MiB that tensors take on the card now; 0 without a card."""
        if not self.is_cuda:
            return 0.0
        gc.collect()
        return torch.cuda.memory_allocated() / MIB

    def describe(self) -> dict[str, Any]:
        """Card and number formats, for the header and the JSON file."""
        if not self.is_cuda:
            return {"device": "cpu", "dtype": _name(self.dtype)}
        free, total = torch.cuda.mem_get_info()
        return {
            "device": torch.cuda.get_device_name(),
            "memory_gib": round(total / 2**30, 1),
            "free_gib": round(free / 2**30, 1),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "dtype": _name(self.dtype),
            "float32_products": torch.get_float32_matmul_precision(),
            "tf32_convolutions": torch.backends.cudnn.allow_tf32,
        }


class _EventClock:
    """Runs of a function between two events on the card's stream."""

    def __init__(self, work: Callable[[], object]) -> None:
        self.work = work
        self.events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    def __call__(self) -> None:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        self.work()
        end.record()
        self.events.append((begin, end))

    def seconds(self, runs: int) -> tuple[float, ...]:
        """Of the last ``runs`` runs."""
        torch.cuda.synchronize()
        return tuple(begin.elapsed_time(end) / 1000 for begin, end in self.events[-runs:])


def _wake_up(device: str) -> None:
    """Let the libraries make what they keep (contexts, workspaces) before memory is read."""
    x = torch.ones(1, 64, 64, device=device, requires_grad=True)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        (x.to(dtype) @ x.to(dtype)).sum().backward()
    torch.nn.functional.conv1d(x, torch.ones(64, 64, 3, device=device)).sum().backward()
    torch.cuda.synchronize()


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
