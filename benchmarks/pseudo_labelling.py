"""Throughput of pseudo-labelling: our two backends, transformers' own call and openai-whisper.

All have the same random weights (this package and ``whisper_engines.py`` convert them) and label
the same 30 s segments of noise, from waveform to tokens, greedily. Random weights say nothing about
length, so every label is forced to have the same number of tokens: the end token is suppressed and
decoding stops after ``--tokens``. The engines' tokens are compared. Engines that are not installed
are left out. Run: ``python benchmarks/pseudo_labelling.py``.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import common
import whispers
from place import Place
from whisper_engines import CT2, Waves, converted, engine, engine_names

from espnet_kd.evaluation.timing import noise, use_threads

SIZES = {"cpu": ("tiny",), "cuda": ("small", "large")}
BATCHES = {"cpu": (1, 8), "cuda": (1, 64)}
TOKENS = 64
COLUMNS = {
    "audio s per CPU s": "audio_per_cpu_second",
    "audio s per s": "audio_per_second",
    "tokens as the anchor's": "same",
}


def segments(batch: int) -> Waves:
    """Noise of 30 s."""
    return list(noise(batch, whispers.SEGMENT).numpy())


def compare(
    args: argparse.Namespace, place: Place, size: str, folder: Path
) -> list[dict[str, Any]]:
    """Rows of one size of model."""
    engines, weights = {}, {}
    for name in args.engines or engine_names(place):
        before = place.held()
        engines[name] = engine(name, size, place, folder, args.tokens)
        weights[name] = place.held() - before
    anchor, rows = next(iter(engines)), []
    for batch in args.batch or BATCHES[args.device]:
        works = {name: partial(label, segments(batch)) for name, label in engines.items()}
        found, peaks = {}, {}
        for name, work in works.items():
            with place.peak() as taken:
                found[name] = work()
            peaks[name] = weights[name] + taken()
        timings = place.measure(works, common.runs_of(args, whispers.RUNS), warm_up=0)
        for name in engines:
            if not place.is_cuda:
                peaks[name] = memory_of(name, size, batch, folder, args)
            elif name in CT2:
                peaks[name] = float("nan")  # not torch's memory
            row = common.row(
                f"{size}, {batch} × 30 s", name, timings[name], timings[anchor], peaks[name]
            )
            rows.append(row | throughput(row, batch) | same(found[name], found[anchor]))
        common.tell(rows[-len(engines) :])
    return rows


def throughput(row: dict[str, Any], batch: int) -> dict[str, float]:
    """Seconds of audio for each second of computing."""
    audio = batch * whispers.SEGMENT
    wall = row.get("device_seconds", row["wall_seconds"])
    return {
        "audio_per_cpu_second": audio / row["cpu_seconds"],
        "audio_per_second": audio / wall,
    }


def same(found: list[list[int]], wanted: list[list[int]]) -> dict[str, str]:
    """How many segments have the anchor's tokens."""
    equal = sum(a == b for a, b in zip(found, wanted, strict=True))
    return {"same": f"{equal} of {len(wanted)}"}


def memory_of(name: str, size: str, batch: int, folder: Path, args: argparse.Namespace) -> float:
    """Peak MiB of one batch in a process of its own."""
    options = {"size": size, "batch": batch, "converted": folder, "dtype": args.dtype}
    options["tokens"] = args.tokens
    arguments = [part for key, value in options.items() for part in (f"--{key}", str(value))]
    return common.memory_in_fresh_process(name, __file__, *arguments)


def main() -> None:
    """Compare all engines for every size and batch."""
    parser = common.parser(__doc__)
    parser.add_argument("--size", nargs="+", choices=whispers.SHAPES, help=f"default {SIZES}")
    parser.add_argument("--batch", type=int, nargs="+", help=f"segments, default {BATCHES}")
    parser.add_argument("--tokens", type=int, default=TOKENS, help="of each label")
    parser.add_argument("--engines", nargs="+", help="the first is the anchor; default: all")
    parser.add_argument("--converted", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    place = Place.of(args)
    if args.memory_of:
        with use_threads(args.threads), converted(args.size[0], place, args.converted) as folder:
            label = engine(args.memory_of, args.size[0], place, folder, args.tokens)
            label(segments(args.batch[0]))
        common.print_peak()
        return
    rows = []
    for size in args.size or SIZES[args.device]:
        with converted(size, place, args.converted) as folder:
            rows += compare(args, place, size, folder)
    common.show(rows, {}, place, args.json, columns=COLUMNS)


if __name__ == "__main__":
    main()
