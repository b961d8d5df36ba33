"""The profile of a model: the JSON object that run files and reports use, and its table."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from espnet_kd.errors import ConfigError
from espnet_kd.evaluation.macs import macs_summary, superb_macs
from espnet_kd.evaluation.memory import peak_memory, peak_memory_cuda
from espnet_kd.evaluation.models import find_model
from espnet_kd.evaluation.parameters import parameter_summary
from espnet_kd.evaluation.timing import real_time_factor
from espnet_kd.utils.devices import gpu_count


def profile(
    model: str,
    *,
    seconds: float = 16.0,
    batch: int = 1,
    threads: int = 1,
    runs: int = 5,
    device: str = "cpu",
    superb: bool = False,
    timing: bool = True,
) -> dict[str, Any]:
    """Measure a checkpoint or a published architecture.

    Args:
        model: path for ``load_model``, or an architecture's name.
        seconds: length of the utterance.
        batch: utterances per call, for time and memory.
        threads: torch's intra-op threads.
        runs: timed calls after one warm-up.
        device: ``cpu`` or ``cuda``.
        superb: add SUPERB's MACs.
        timing: False leaves out ``time`` and ``memory``.

    Returns:
        ``{"model", "parameters", "macs", "superb_macs"?, "time"?, "memory"?}``.
    """
    sizes = {"seconds": seconds, "batch": batch, "threads": threads, "runs": runs}
    _check(sizes, device, timing)
    encoder = find_model(model)
    if round(seconds * encoder.config.sample_rate) < encoder.min_samples:
        raise ConfigError("profile", [f"seconds: {seconds} is too short for one frame"])
    measured: dict[str, Any] = {
        "model": model,
        "parameters": parameter_summary(encoder),
        "macs": macs_summary(encoder.config, seconds),
    }
    if superb:
        measured["superb_macs"] = superb_macs(encoder.config)
    if timing:
        size = {"seconds": seconds, "batch": batch}
        work = {"runs": runs, "threads": threads, "device": device}
        measured["time"] = real_time_factor(encoder, **size, **work)  # type: ignore[arg-type]
        if device == "cpu":
            memory = peak_memory(model, seconds=seconds, batch=batch, threads=threads)
        else:
            memory = peak_memory_cuda(encoder, seconds=seconds, batch=batch)
        measured["memory"] = {**memory, **size, "device": device}
    return measured


def profile_table(measured: Mapping[str, Any]) -> str:
    """The profile as a table for the terminal."""
    rows = [("model", str(measured["model"])), *_parameter_rows(measured), *_mac_rows(measured)]
    if "time" in measured:
        rows += [*_time_rows(measured["time"]), *_memory_rows(measured["memory"])]
    width = max(len(label) for label, _ in rows)
    return "\n".join(f"{label:<{width}}  {value}" for label, value in rows)


def _parameter_rows(measured: Mapping[str, Any]) -> list[tuple[str, str]]:
    counts = measured["parameters"]
    return [
        ("parameters", f"{counts['total']:,}"),
        ("  without heads", f"{counts['without_heads']:,}"),
        *((f"  {part}", f"{count:,}") for part, count in counts["parts"].items()),
    ]


def _mac_rows(measured: Mapping[str, Any]) -> list[tuple[str, str]]:
    macs, total = measured["macs"], measured["macs"]["total"]
    rows = [(f"MACs, {macs['seconds']:g} s", f"{total / 1e9:.3f} G")]
    rows += [
        (f"  {part}", f"{count / 1e9:.3f} G ({100 * count / total:.0f} %)")
        for part, count in macs["parts"].items()
    ]
    if "superb_macs" in measured:
        rows += _superb_rows(measured["superb_macs"])
    return rows


def _superb_rows(superb: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Sum, the four groups by length, smallest and largest per second of speech; twice."""
    rows = []
    for label, total, suffix in (
        ("MACs, SUPERB", "total", ""),
        ("  with attention extras", "with_extras", "_with_extras"),
    ):
        groups = ", ".join(f"{count / 1e9:.1f}" for count in superb[f"groups{suffix}"])
        rate = superb[f"per_second{suffix}"]
        rows += [
            (label, f"{superb[total] / 1e9:.1f} G ({groups})"),
            ("  per second", f"{rate['min'] / 1e9:.3f} to {rate['max'] / 1e9:.3f} G"),
        ]
    return rows


def _time_rows(time: Mapping[str, Any]) -> list[tuple[str, str]]:
    what = f"{time['batch']} × {time['seconds']:g} s, {time['threads']} thread(s), {time['device']}"
    return [
        (f"RTF, {what}", f"{time['rtf_wall']:.4f} wall, {time['rtf_cpu']:.4f} CPU"),
        ("  seconds", f"{time['wall_seconds']:.3f} wall, {time['cpu_seconds']:.3f} CPU (median)"),
    ]


def _memory_rows(memory: Mapping[str, Any]) -> list[tuple[str, str]]:
    before, peak = memory["before_mib"], memory["peak_mib"]
    return [("peak memory", f"{peak:.0f} MiB ({before:.0f} before the pass)")]


def _check(sizes: Mapping[str, float], device: str, timing: bool) -> None:
    problems = [
        f"{key}: {value} must be a positive number"
        for key, value in sizes.items()
        if not 0 < value < math.inf  # NaN is not either
    ]
    if problem := _device_problem(device, timing):
        problems.append(f"device: {problem}")
    if problems:
        raise ConfigError("profile", problems)


def _device_problem(device: str, used: bool) -> str:
    """Say why nothing can be measured on a device; empty if it can be, or need not be."""
    match = re.fullmatch(r"cpu|cuda(?::(\d+))?", device, re.ASCII)
    if match is None:
        return f"{device!r} is neither cpu nor cuda"
    if device == "cpu" or not used:
        return ""
    there = gpu_count()
    if int(match[1] or 0) < there:
        return ""
    return f"{device} is not there, torch finds {there} GPU(s); choose cpu, or --no_timing"
