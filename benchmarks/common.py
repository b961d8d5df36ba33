"""What the benchmarks share: the anchor, fresh processes for memory, tables and JSON."""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Before torch starts its threads: figures are CPU seconds of one thread.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from place import DTYPES, RUNS, Clocked, Place
from torch import Tensor

from espnet_kd.evaluation.memory import peak_rss_mib
from espnet_kd.evaluation.timing import noise, use_threads
from espnet_kd.utils.files import write_json

if TYPE_CHECKING:
    import transformers

ANCHOR = "transformers HubertModel base, sdpa"
SECONDS = 10.0
BATCHES = {"cpu": (1, 4), "cuda": (1, 4, 32)}
"""Utterances of a forward pass, by device."""


def hubert_base() -> transformers.HubertModel:
    """The anchor: transformers' own HuBERT Base with random weights and its fastest attention."""
    import transformers

    torch.manual_seed(0)
    config = transformers.HubertConfig(attn_implementation="sdpa", layerdrop=0.0)
    return transformers.HubertModel(config).eval()


def anchor_forward(place: Place) -> Callable[[Tensor], object]:
    """A function from samples to all hidden states of the anchor."""
    anchor = place.cast(hubert_base())
    return lambda x_BS: anchor(x_BS.to(place.dtype), output_hidden_states=True)


def parser(description: str | None) -> argparse.ArgumentParser:
    """Options that all benchmarks have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--runs", type=int, help=f"timed runs of each (median is shown), by default {RUNS}"
    )
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        default="float32",
        help="of both sides; training keeps float32 weights (autocast)",
    )
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--memory_of", help=argparse.SUPPRESS)
    return parser


def runs_of(args: argparse.Namespace, default: Mapping[str, int] = RUNS) -> int:
    """How often each thing is timed, by default as the table says for its device."""
    return args.runs or default[args.device]


def memory_in_fresh_process(name: str, script: str, *arguments: str) -> float:
    """Peak MiB of ``script --memory_of name`` in a process of its own."""
    command = [sys.executable, script, "--memory_of", name, *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.splitlines()[-1])


def print_peak() -> None:
    """End of a memory process: its last line is the figure."""
    print(peak_rss_mib())


def row(case: str, name: str, clocked: Clocked, anchor: Clocked, peak_mib: float) -> dict[str, Any]:
    """Figures of one model in one case; ``ratio`` is of medians to the anchor's."""
    return {
        "case": case,
        "what": name,
        **clocked.to_dict(),
        "peak_mib": peak_mib,
        "ratio": clocked.median / anchor.median,
        "ratio_of_least": clocked.least / anchor.least,
    }


def compare_forwards(
    args: argparse.Namespace,
    script: str,
    forward_of: Callable[[str, Place], Callable[[Tensor], object]],
    names: Sequence[str],
    goals: Mapping[str, float],
    without_memory: Sequence[str] = (),
) -> None:
    """Time forward passes of several batches in turns: the body of a benchmark's ``main``.

    Args:
        args: of :func:`forward_parser`.
        script: the benchmark's file, run again for each memory figure.
        forward_of: name and place to a function of (B, S) samples; the anchor is timed beside
            ``names``.
        names: the models that are compared.
        goals: case to the ratio of CPU seconds that every model is to reach.
        without_memory: models whose making would be measured, not their running.
    """
    place = Place.of(args)
    forwards, weights = {}, {}
    for name in (ANCHOR, *names):
        before = place.held()
        forwards[name] = forward_of(name, place)
        weights[name] = place.held() - before
    rows = []
    for batch in BATCHES[args.device]:
        case = f"{batch} × {SECONDS:g} s"
        x_BS = place.put(noise(batch, SECONDS))
        works = {name: partial(forward, x_BS) for name, forward in forwards.items()}
        peaks = dict.fromkeys(forwards, float("nan"))
        with torch.inference_mode():
            if place.is_cuda:
                peaks = {name: weights[name] + taken_by(place, works[name]) for name in works}
            timings = place.measure(works, runs_of(args))
        for name in forwards:
            if not place.is_cuda and name not in without_memory:
                peaks[name] = memory_in_fresh_process(
                    name, script, "--batch", str(batch), "--dtype", args.dtype
                )
            rows.append(row(case, name, timings[name], timings[ANCHOR], peaks[name]))
    show(rows, {} if place.is_cuda else goals, place, args.json)


def taken_by(place: Place, work: Callable[[], object]) -> float:
    """MiB that one run takes on the card."""
    with place.peak() as taken:
        work()
    return taken()


def forward_parser(description: str | None) -> argparse.ArgumentParser:
    """Options of benchmarks of forward passes."""
    options = parser(description)
    options.add_argument("--batch", type=int, default=1, help="only with --memory_of")
    return options


def forward_once(
    args: argparse.Namespace, forward_of: Callable[[str, Place], Callable[[Tensor], object]]
) -> None:
    """What a memory process of :func:`compare_forwards` does."""
    with torch.inference_mode(), use_threads(args.threads):
        forward_of(args.memory_of, Place.of(args))(noise(args.batch, SECONDS))
    print_peak()


StepMaker = Callable[[Place, int], Callable[[], float]]
"""Place and utterances of a batch to a step: one update, which returns the loss before it."""


def compare_steps(
    description: str | None,
    script: str,
    case: str,
    step_of: Mapping[str, StepMaker],
    goal: float,
    batches: Mapping[str, Sequence[int]],
) -> None:
    """Time training steps in turns: the body of a benchmark's ``main``.

    Args:
        description: of the benchmark, for ``--help``.
        script: its file, run again for each memory figure.
        case: what a step is, with ``{batch}`` in it.
        step_of: name to a maker of steps; the first is the anchor, the last is judged.
        goal: ratio of CPU seconds that the last one is to reach.
        batches: utterances of a batch, one table each, by device.
    """
    options = parser(description)
    options.add_argument("--batch", type=int, nargs="+", help="utterances of a step's batch")
    args = options.parse_args()
    if args.dtype == "float16":
        options.error("training in float16 would need a scaler of losses; take bfloat16")
    place, sizes = Place.of(args), args.batch or batches[args.device]
    if args.memory_of:
        with use_threads(args.threads):
            step_of[args.memory_of](place, sizes[0])()
        print_peak()
        return
    rows, goals = [], {}
    for batch in sizes:
        title = case.format(batch=batch)
        goals[title] = goal
        more = ("--batch", str(batch), "--dtype", args.dtype)
        rows += time_steps(
            {name: partial(make, place, batch) for name, make in step_of.items()},
            place,
            title,
            runs_of(args),
            memory_of=lambda name, more=more: memory_in_fresh_process(name, script, *more),
        )
    # The goals were set for CPUs.
    show(rows, {} if place.is_cuda else goals, place, args.json, judged=list(step_of)[-1])


def time_steps(
    makers: Mapping[str, Callable[[], Callable[[], float]]],
    place: Place,
    case: str,
    runs: int,
    memory_of: Callable[[str], float],
) -> list[dict[str, Any]]:
    """Rows of training steps that take turns; their first losses are printed.

    Args:
        makers: name to a maker of steps; the first is the anchor.
        place: where they run.
        case: what a step is.
        runs: timed steps of each.
        memory_of: name to its peak MiB on the CPU; on a card it is measured here.
    """
    steps, losses, peaks = {}, {}, {}
    for name, make in makers.items():
        with place.peak() as taken:
            steps[name] = make()
            losses[name] = steps[name]()
            if place.is_cuda:
                # Not what loading and converting took; and now with the optimiser's state.
                torch.cuda.reset_peak_memory_stats()
                steps[name]()
                peaks[name] = taken()
    print(f"{case}: losses of the first step: {with_differences(losses)}", flush=True)
    timings = place.measure(steps, runs)
    steps.clear()
    if not place.is_cuda:
        peaks = {name: memory_of(name) for name in makers}
    anchor = timings[next(iter(makers))]
    rows = [row(case, name, timings[name], anchor, peaks[name]) for name in makers]
    tell(rows)
    return rows


def tell(rows: Sequence[Mapping[str, Any]]) -> None:
    """Say at once what a case gave: the table comes when all have been measured."""
    ratios = ", ".join(f"{one['what']} {one['ratio']:.2f}" for one in rows)
    print(f"{rows[0]['case']}: {ratios}", flush=True)


def with_differences(losses: Mapping[str, float]) -> str:
    """Losses, and how far each is from the anchor's, the first."""
    anchor = next(iter(losses.values()))
    return ", ".join(f"{name} {loss:.5f} ({loss - anchor:+.1e})" for name, loss in losses.items())


def show(
    rows: list[dict[str, Any]],
    goals: Mapping[str, float],
    place: Place,
    out: Path | None,
    judged: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> None:
    """Print a Markdown table and the goals of ``judged`` (of all but anchors), write the JSON.

    Args:
        rows: of :func:`row`.
        goals: case to the ratio that is to be reached.
        place: where they were measured.
        out: the JSON file.
        judged: whose ratios the goals are about.
        columns: more columns, title to the rows' key.
    """
    clock = "card ms" if place.is_cuda else "CPU s"
    memory = "peak on the card (MiB)" if place.is_cuda else "peak RSS (MiB)"
    columns = columns or {}
    titles = ("case", "what", f"{clock}, median [min]", "ratio (of least)", memory, *columns)
    print(", ".join(f"{key} {value}" for key, value in _where(place).items()))
    print(f"| {' | '.join(titles)} |")
    print("|---" * len(titles) + "|")
    for one in rows:
        ratio = f"{one['ratio']:.2f} ({one['ratio_of_least']:.2f})"
        cells = [one["case"], one["what"], _seconds(one, place), ratio, f"{one['peak_mib']:.0f}"]
        cells += [v if isinstance(v := one[key], str) else f"{v:.3g}" for key in columns.values()]
        print(f"| {' | '.join(cells)} |")
    for one in rows:
        goal = goals.get(one["case"])
        if goal is not None and (one["what"] == judged if judged else one["ratio"] != 1.0):
            verdict = "met" if one["ratio"] <= goal else "MISSED"
            print(f"\n{one['case']}: ratio {one['ratio']:.3f}, goal {goal} {verdict}")
    if out is not None:
        figures = {"machine": machine(place), "goals": dict(goals), "rows": rows}
        write_json(out, figures)


def _seconds(one: Mapping[str, Any], place: Place) -> str:
    if place.is_cuda:
        return f"{1000 * one['device_seconds']:.2f} [{1000 * one['device_seconds_min']:.2f}]"
    return f"{one['cpu_seconds']:.3f} [{one['cpu_seconds_min']:.3f}]"


def _where(place: Place) -> dict[str, Any]:
    """The header's line above a table."""
    whole = machine(place)
    place_names = place.describe()
    return {**place_names, **{key: whole[key] for key in ("torch", "transformers", "python")}}


def machine(place: Place) -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "load": [round(value, 1) for value in os.getloadavg()],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": version_of("transformers"),
        "capability": _capability(),
        **place.describe(),
    }


def version_of(package: str) -> str:
    """Of an installed package; some benchmarks run without transformers."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"


def _capability() -> str:
    """Of the processor, as torch uses it; torch 1.13, which k2's wheel is for, cannot tell."""
    cpu = getattr(torch.backends, "cpu", None)
    return cpu.get_cpu_capability() if cpu else "unknown"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor()
