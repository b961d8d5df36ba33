"""What the benchmarks share: the anchor, fresh processes for memory, tables and JSON."""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

# Before torch starts its threads: figures are CPU seconds of one thread.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import transformers
from torch import Tensor

from espnet_kd.evaluation.memory import peak_rss_mib
from espnet_kd.evaluation.timing import Timing, measure, noise, use_threads
from espnet_kd.utils.files import write_json

ANCHOR = "transformers HubertModel base, sdpa"
SECONDS = 10.0
CASES = {1: "1 × 10 s", 4: "4 × 10 s"}
"""Utterances of a forward pass, and how tables call it."""


def hubert_base() -> transformers.HubertModel:
    """The anchor: transformers' own HuBERT Base with random weights and its fastest attention."""
    torch.manual_seed(0)
    config = transformers.HubertConfig(attn_implementation="sdpa", layerdrop=0.0)
    return transformers.HubertModel(config).eval()


def parser(description: str | None) -> argparse.ArgumentParser:
    """Options that all benchmarks have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--runs", type=int, default=5, help="timed runs of each (median is shown)")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--memory_of", help=argparse.SUPPRESS)
    return parser


def memory_in_fresh_process(name: str, script: str, *arguments: str) -> float:
    """Peak MiB of ``script --memory_of name`` in a process of its own."""
    command = [sys.executable, script, "--memory_of", name, *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.splitlines()[-1])


def print_peak() -> None:
    """End of a memory process: its last line is the figure."""
    print(peak_rss_mib())


def row(case: str, name: str, timing: Timing, anchor: Timing, peak_mib: float) -> dict[str, Any]:
    """Figures of one model in one case; ``ratio`` is of median CPU seconds to the anchor's."""
    return {
        "case": case,
        "what": name,
        **timing.to_dict(),
        "peak_mib": peak_mib,
        "ratio": timing.cpu / anchor.cpu,
        "ratio_of_least": min(timing.cpu_seconds) / min(anchor.cpu_seconds),
    }


def compare_forwards(
    args: argparse.Namespace,
    script: str,
    forward_of: Callable[[str], Callable[[Tensor], object]],
    names: Sequence[str],
    goals: Mapping[str, float],
    without_memory: Sequence[str] = (),
) -> None:
    """Time forward passes of 1 and 4 utterances in turns: the body of a benchmark's ``main``.

    Args:
        args: of :func:`forward_parser`.
        script: the benchmark's file, run again for each memory figure.
        forward_of: name to a function of (B, S) samples; the anchor is timed beside ``names``.
        names: the models that are compared.
        goals: case to the ratio of CPU seconds that every model is to reach.
        without_memory: models whose making would be measured, not their running.
    """
    forwards = {name: forward_of(name) for name in (ANCHOR, *names)}
    rows = []
    for batch, case in CASES.items():
        x_BS = noise(batch, SECONDS)
        works = {name: partial(forward, x_BS) for name, forward in forwards.items()}
        with torch.inference_mode():
            timings = measure(works, runs=args.runs, threads=args.threads)
        for name in forwards:
            peak = float("nan")
            if name not in without_memory:
                peak = memory_in_fresh_process(name, script, "--batch", str(batch))
            rows.append(row(case, name, timings[name], timings[ANCHOR], peak))
    show(rows, dict(goals), args.json)


def forward_parser(description: str | None) -> argparse.ArgumentParser:
    """Options of benchmarks of forward passes."""
    options = parser(description)
    options.add_argument("--batch", type=int, default=1, help="only with --memory_of")
    return options


def forward_once(
    args: argparse.Namespace, forward_of: Callable[[str], Callable[[Tensor], object]]
) -> None:
    """What a memory process of :func:`compare_forwards` does."""
    with torch.inference_mode(), use_threads(args.threads):
        forward_of(args.memory_of)(noise(args.batch, SECONDS))
    print_peak()


def compare_steps(
    description: str | None,
    script: str,
    case: str,
    step_of: Mapping[str, Callable[[], Callable[[], float]]],
    goal: float,
) -> None:
    """Time training steps in turns: the body of a benchmark's ``main``.

    Args:
        description: of the benchmark, for ``--help``.
        script: its file, run again for each memory figure.
        case: what a step is.
        step_of: name to a maker of steps; the first is the anchor, the last is judged. A step makes
            one update and returns the loss before it.
        goal: ratio of CPU seconds that the last one is to reach.
    """
    args = parser(description).parse_args()
    if args.memory_of:
        with use_threads(args.threads):
            step_of[args.memory_of]()()
        print_peak()
        return
    steps = {name: make() for name, make in step_of.items()}
    print("losses of the first step:", {name: round(step(), 5) for name, step in steps.items()})
    timings = measure(steps, runs=args.runs, threads=args.threads)
    anchor, judged = next(iter(step_of)), list(step_of)[-1]
    rows = [
        row(case, name, timings[name], timings[anchor], memory_in_fresh_process(name, script))
        for name in step_of
    ]
    show(rows, {case: goal}, args.json, judged=judged)


def show(
    rows: list[dict[str, Any]],
    goals: dict[str, float],
    out: Path | None,
    judged: str | None = None,
) -> None:
    """Print a Markdown table and the goals of ``judged`` (of all but anchors), write the JSON."""
    print("| case | what | CPU s, median [min] | ratio (of least) | peak RSS (MiB) |")
    print("|---|---|---|---|---|")
    for one in rows:
        print(
            f"| {one['case']} | {one['what']} "
            f"| {one['cpu_seconds']:.3f} [{one['cpu_seconds_min']:.3f}] "
            f"| {one['ratio']:.2f} ({one['ratio_of_least']:.2f}) | {one['peak_mib']:.0f} |"
        )
    for one in rows:
        goal = goals.get(one["case"])
        if goal is not None and (one["what"] == judged if judged else one["ratio"] != 1.0):
            verdict = "met" if one["ratio"] <= goal else "MISSED"
            print(f"\n{one['case']}: ratio {one['ratio']:.3f}, goal {goal} {verdict}")
    if out is not None:
        write_json(out, {"machine": machine(), "goals": goals, "rows": rows})


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "load": [round(value, 1) for value in os.getloadavg()],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "capability": torch.backends.cpu.get_cpu_capability(),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor()
