"""CPU time of SUPERB runs of several epochs with the feature cache, and without: S3PRL as it is.

The anchor is stock S3PRL, with the student's weights in S3PRL's own wav2vec 2.0 code
(``stock_upstream.py``); a second side is stock S3PRL with our upstream, to tell the cache's share
from the network's. All sides have stock heads, batches and learning rates and go from loading the
student to the last checkpoint; development (and test, where the task does) are evaluated once per
epoch. KS and SID cut recordings at random; sides with fixed cuts stand beside stock S3PRL with the
same cuts. The last side trains once more with the files of the judged mode, as ``--lr_sweep`` does;
its rate is the same, so that weights can be compared. The corpora are noise (``superb_data.py``),
so scores mean nothing, and weights are compared instead. With ``--norm layer_norm`` all sides give
the same result as their anchor up to rounding; with ``group_norm`` features of shorter utterances
depend on the padding of their batch, and are only comparable. Run:
``python benchmarks/superb_cache.py --tasks PR IC``.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import os
import re
import shutil
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import common
import torch
from place import Clocked, Place
from stock_upstream import UPSTREAM, save_for_s3prl
from superb_data import MAKERS, Corpus

from espnet_kd.encoder import SpeechEncoder
from espnet_kd.encoder.architectures import architecture
from espnet_kd.evaluation.timing import Timing, use_threads
from s3prl_upstreams.cache.crops import Places, stand_in, where_crops_are_drawn
from s3prl_upstreams.run_downstream import run
from s3prl_upstreams.tasks import find_task

STOCK, OURS = "S3PRL", "S3PRL, our upstream"
STOCK_CUT = "S3PRL, 1 fixed cut"
EXPERT = "config.downstream_expert"
LONG = 100
"""Epochs for which the ratio is computed from the first pass and the rest: tasks have 46 to 277."""


@dataclass(frozen=True)
class Case:
    """How a task is measured."""

    utterances: tuple[int, int, int]
    """Of train, dev and test, in about the corpus's proportions, enough for start-up (a second) not
    to count; ``--times`` so many."""
    batch: int
    """Utterances of a batch, the stock one unless ``note`` says otherwise."""
    modes: tuple[tuple[str, ...], ...]
    """Options of the sides with a cache."""
    goal: float
    """Ratio of CPU time; judged is the last mode, without files before and with them."""
    workers: str
    """Where the number of loader processes stands in the configuration."""
    more: str = ""
    """Further changes of the configuration."""
    note: str = ""


EXACT, ISOLATED = ("exact",), ("isolated",)
POOLED = ("pooled",)
CROPS = (*POOLED, "--feature_cache_crops", "1")
DATARC = f"{EXPERT}.datarc"
CASES = {
    "PR": Case((32, 2, 2), 16, (ISOLATED,), 1 / 5, f"{EXPERT}.corpus"),
    "ASR": Case(
        (8, 1, 1),
        4,
        (EXACT,),
        1 / 1.3,
        DATARC,
        f"{DATARC}.batch_size=8",
        "batches of 4 instead of 16",
    ),
    "KS": Case((192, 18, 18), 32, (POOLED, CROPS), 1 / 20, DATARC),
    "SID": Case((64, 8, 8), 8, (POOLED, CROPS), 1 / 20, DATARC),
    "IC": Case((64, 8, 8), 32, (POOLED,), 1 / 20, DATARC),
    "ER": Case((32, 8, 12), 4, (POOLED,), 1 / 20, DATARC),
    "SD": Case((8, 1, 1), 8, (ISOLATED,), 1 / 4, f"{EXPERT}.loaderrc"),
}


@dataclass(frozen=True)
class Student:
    """Where a student is kept, for both kinds of code."""

    folder: Path
    """Ours."""
    file: Path
    """S3PRL's."""
    millions: float
    """Of parameters."""

    def upstream(self, name: str) -> list[str]:
        """Words of the command line."""
        if name in (STOCK, STOCK_CUT):
            return ["-u", UPSTREAM, "-k", str(self.file)]
        return ["-u", "kd_student", "-k", str(self.folder)]


def save_student(name: str, norm: str, folder: Path, layers: int | None = None) -> Student:
    """Save a student with random weights."""
    torch.manual_seed(0)
    config = architecture(name)
    # S3PRL's own code gives the input of the first layer as well.
    config = config.replace(
        extractor_norm=norm, layers=config.layers[:layers], hidden_states="transformers"
    )
    encoder = SpeechEncoder.from_config(config).eval()
    encoder.save_pretrained(folder)
    file = folder.with_suffix(".pt")
    save_for_s3prl(encoder, file)
    return Student(folder, file, sum(weight.numel() for weight in encoder.parameters()) / 1e6)


def overrides(task: str, case: Case, epochs: int, every: int, data: Path) -> str:
    """S3PRL's ``-o``: so many epochs, each ``every``-th evaluated, on this data."""
    steps = max(1, case.utterances[0] // case.batch)
    changes = [
        f"config.runner.total_steps={steps * epochs}",
        f"config.runner.eval_step={steps * every}",
        f"config.runner.save_step={steps}",
        f"config.runner.log_step={steps}",
        # An update per batch, so that an epoch of a small corpus is a number of updates.
        "config.runner.gradient_accumulate_steps=1",
        f"{case.workers}.num_workers=0",
    ]
    if task == "ER":
        changes += [
            f"{DATARC}.meta_data='{data / 'IEMOCAP/meta_data'}'",
            f"{DATARC}.test_fold='fold1'",
        ]
    return ",,".join([*changes, *filter(None, [case.more])])


@dataclass(frozen=True)
class Run:
    """What one run took and gave."""

    clocked: Clocked
    upstream: float
    """Wall seconds inside the upstream, as the cache tells them; nan without it."""
    weights: dict[str, torch.Tensor]
    printed: str


def run_once(words: list[str], threads: int, cuts: AbstractContextManager[object]) -> Run:
    """Train in this process, in an experiment folder of its own; ``cuts`` is held meanwhile."""
    exp = Path(words[words.index("-p") + 1])
    output, silence = io.StringIO(), contextlib.ExitStack()
    silence.enter_context(contextlib.redirect_stderr(output))
    silence.enter_context(contextlib.redirect_stdout(output))
    with use_threads(threads), silence, _same_start(), cuts:
        cpu, wall = _cpu(), time.perf_counter()
        run(words)
        cpu, wall = _cpu() - cpu, time.perf_counter() - wall
    printed = output.getvalue()
    told = re.search(r"upstream ([\d.]+) s", printed)
    upstream = float(told[1]) if told else float("nan")
    return Run(Clocked(Timing((cpu,), (wall,), threads)), upstream, _weights(exp), printed)


def fixed_cuts(task: str) -> AbstractContextManager[object]:
    """Let stock S3PRL cut recordings where the cache's one fixed place is."""
    found = find_task(task)
    drawn = where_crops_are_drawn(found.downstream) if found is not None else None
    assert drawn is not None
    module, name = drawn
    return mock.patch.object(module, name, stand_in(name, Places(1)))


@contextlib.contextmanager
def _same_start() -> Iterator[None]:
    """Let heads start alike: making a network draws random numbers, S3PRL's more than ours."""
    from s3prl.downstream.runner import Runner

    get_upstream = Runner._get_upstream

    def seeded(runner: Any) -> Any:
        upstream = get_upstream(runner)
        torch.manual_seed(runner.args.seed)
        return upstream

    with mock.patch.object(Runner, "_get_upstream", seeded):
        yield


def _cpu() -> float:
    """CPU seconds of the process and of its loaders."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _weights(exp: Path) -> dict[str, torch.Tensor]:
    (path,) = exp.glob("states-*.ckpt")
    with torch.serialization.safe_globals([Namespace]):
        states = torch.load(path, weights_only=True)
    return {
        **states["Downstream"],
        **{f"featurizer.{k}": v for k, v in states["Featurizer"].items()},
    }


def difference(run_: Run, stock: Run) -> float:
    """Largest difference of a weight, relative to the largest weight of its tensor."""
    found = [
        ((run_.weights[name] - weight).abs().max() / weight.abs().max().clamp(min=1e-12)).item()
        for name, weight in stock.weights.items()
        if weight.is_floating_point() and not name.endswith("best_score")
    ]
    return max(found)


@dataclass(frozen=True)
class Side:
    """One way to train."""

    options: tuple[str, ...] = ()
    """Of the cache."""
    anchor: str = STOCK
    """The side that gives the same result."""
    judged: bool = False


def _sides(case: Case, folder: Path) -> dict[str, Side]:
    cuts = CROPS in case.modes
    sides = {STOCK: Side(), **({STOCK_CUT: Side()} if cuts else {}), OURS: Side()}
    for mode in case.modes:
        name = f"{mode[0]}, 1 fixed cut" if mode == CROPS else mode[0]
        cache = ("--feature_cache_dir", str(folder / f"cache{len(sides)}"))
        anchor = STOCK_CUT if mode == CROPS else STOCK
        sides[name] = Side(("--feature_cache", *mode, *cache), anchor, mode == case.modes[-1])
    sides[f"{name}, again"] = sides[name]
    return sides


def compare(
    task: str, args: argparse.Namespace, student: Student, folder: Path
) -> list[dict[str, Any]]:
    """Rows of one task."""
    case = CASES[task]
    train, dev, test = (count * args.times for count in case.utterances)
    case = replace(case, utterances=(train, dev, test))
    data = folder / "data"
    MAKERS[task](Corpus(data), case.utterances)
    words = ["-m", "train", "-d", task, "--device", "cpu"]
    words += ["--data", str(data), "-o", overrides(task, case, args.epochs, args.every, data)]
    sides = _sides(case, folder)
    # Imports are the same for both sides and are not measured.
    brief = ",,config.runner.eval_dataloaders=[],,config.runner.total_steps=1"
    warm_up = [f"{word}{brief}" if word.startswith("config.") else word for word in words]
    for number, name in enumerate((STOCK, OURS)):
        exp = folder / f"warm_up{number}"
        warm = [*warm_up, *args.tiny.upstream(name), "-p", str(exp)]
        run_once(warm, args.threads, contextlib.nullcontext())
    title = f"{task}, {args.epochs} epochs{f', {case.note}' if case.note else ''}"
    runs, rows = {}, []
    for index, (name, side) in enumerate(sides.items()):
        said = [*words, *student.upstream(name), *side.options, "-p", str(folder / f"exp{index}")]
        cuts = fixed_cuts(task) if name == STOCK_CUT else contextlib.nullcontext()
        runs[name] = run_once(said, args.threads, cuts)
        anchor = runs[side.anchor]
        row = common.row(title, name, runs[name].clocked, anchor.clocked, float("nan"))
        more = _more(runs[name], anchor, args.epochs, bool(side.options))
        rows.append({**row, **more, "judged": side.judged})
    common.tell(rows)
    if args.verbose:
        for name, one in runs.items():
            told = [line for line in one.printed.splitlines() if "[espnet_kd] feature" in line]
            print(f"  {name}: " + "\n    ".join(told))
    return rows


def _more(one: Run, stock: Run, epochs: int, cached: bool) -> dict[str, Any]:
    """Wall time, how many times faster, in the long run too, and the difference of the weights."""
    clock, anchor = one.clocked, stock.clocked.median
    first = 0.0
    if cached:
        # The cache tells wall seconds; the share of them that was computing is the run's.
        first = one.upstream * min(1.0, clock.median / clock.timing.wall)
    many = first + (clock.median - first) * LONG / epochs
    return {
        "wall": clock.timing.wall,
        "first_pass": first,
        "faster": anchor / clock.median,
        "long": anchor * LONG / epochs / many,
        "difference": difference(one, stock),
    }


COLUMNS = {
    "wall s": "wall",
    "times faster": "faster",
    f"{LONG} epochs (computed)": "long",
    "difference of weights": "difference",
}


def main() -> None:
    """Time the chosen tasks."""
    parser = common.parser(__doc__)
    # ASR's time is its head's, which asr_head.py measures.
    usual = [task for task in CASES if task != "ASR"]
    parser.add_argument("--tasks", nargs="+", default=usual, choices=CASES)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--every", type=int, default=1, help="epochs between two evaluations")
    parser.add_argument("--times", type=int, default=1, help="corpora so many times as large")
    parser.add_argument("--student", default="starhubert", help="architecture")
    parser.add_argument("--norm", default="layer_norm", choices=("layer_norm", "group_norm"))
    parser.add_argument("--verbose", action="store_true", help="what the cache told")
    args = parser.parse_args()
    if args.device != "cpu" or args.dtype != "float32":
        print("compares CPU seconds of float32 runs: leave out --device and --dtype")
        sys.exit(0)
    if importlib.util.find_spec("s3prl") is None:
        print("needs S3PRL: pip install s3prl")
        sys.exit(0)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        student = save_student(args.student, args.norm, Path(folder) / "student")
        args.tiny = save_student(args.student, args.norm, Path(folder) / "tiny", layers=1)
        print(f"{args.student}, {student.millions:.1f} M parameters, {args.norm}", flush=True)
        for task in args.tasks:
            rows += compare(task, args, student, Path(folder) / task)
            shutil.rmtree(Path(folder) / task)
    goals = {row["case"]: CASES[row["case"].split(",")[0]].goal for row in rows}
    common.show(rows, {}, Place.of(args), args.json, columns=COLUMNS)
    for row in rows:
        if row["judged"]:
            goal = 1 / goals[row["case"]]
            verdict = "met" if row["faster"] >= goal else "MISSED"
            told = f"{row['faster']:.1f} times faster, goal {goal:.3g} {verdict}"
            print(f"{row['case']}, {row['what']}: {told}")


if __name__ == "__main__":
    main()
