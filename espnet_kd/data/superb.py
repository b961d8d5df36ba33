"""Small corpora in the layouts of all ten SUPERB tasks, made on the spot.

:data:`LAYOUTS` is the one table of them. LibriSpeech, VoxCeleb1 and, of synthetic voices, Speech
Commands are the corpora of :mod:`espnet_kd.data.synthesis` and :mod:`espnet_kd.data.digits`; each
of the others is made by one fresh process in a fixed order, so that the result depends on corpus,
size and seed alone, and an interrupted run continues.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from espnet_kd.data import speech_commands
from espnet_kd.data.corpora import parse_corpus
from espnet_kd.data.digits import Digits, DigitsPlan, load_digits, write_digits
from espnet_kd.data.superb_asv import write_verification
from espnet_kd.data.superb_er import write_emotions
from espnet_kd.data.superb_ic import write_intents
from espnet_kd.data.superb_job import Extent, LayoutJob
from espnet_kd.data.superb_ks import write_keywords
from espnet_kd.data.superb_qbe import write_queries
from espnet_kd.data.superb_sd import write_conversations
from espnet_kd.data.superb_sf import write_slots
from espnet_kd.data.synthesis import SynthesisPlan, forget_speakers, import_once, synthesise
from espnet_kd.data.talkers import DigitTalker, SyntheticTalker, Talker
from espnet_kd.errors import ConfigError, DataDirError
from espnet_kd.utils.files import write_json, write_text

KINDS = ("synthetic", "digits")
"""Corpora that can be made; ``digits`` needs the path of FSDD."""

SIZES = ("tiny", "mini")
"""A few utterances per split, or hundreds where a task needs them."""

Write = Callable[[LayoutJob], None]

STAMP, DONE = "superb.json", ".complete"
"""File that says of what the folder was made, and file that says that a part of it is whole."""


@dataclass(frozen=True)
class Layout:
    """The data of one task."""

    task: str
    """Short name of the task in lower case."""

    folder: str
    """Where the data lie."""

    base: tuple[str, ...] = ()
    """Kinds whose own maker makes the folder."""

    write: Write | None = None
    """Makes the folder for the other kinds."""

    extents: tuple[Extent, ...] = ()
    """How much of it there is, in the order of :data:`SIZES`."""


LAYOUTS: tuple[Layout, ...] = (
    Layout("pr", "LibriSpeech", KINDS),
    Layout("asr", "LibriSpeech", KINDS),
    Layout(
        "ks", speech_commands.TRAIN_ROOT, ("synthetic",), write_keywords,
        (Extent(3, 2, 1, 1), Extent(5, 10, 5, 4)),
    ),
    Layout(
        "qbe", "quesst14Database", (), write_queries,
        (Extent(2, 3, 1, 3), Extent(20, 5, 6, 4)),
    ),
    Layout("sid", "VoxCeleb1", KINDS),
    Layout(
        "asv", "VoxCeleb1_ASV", (), write_verification,
        (Extent(3, 2, 1, 2), Extent(20, 10, 6, 6)),
    ),
    Layout(
        "sd", "diarization", (), write_conversations,
        (Extent(2, 2, 2, 1), Extent(20, 6, 6, 5)),
    ),
    Layout(
        "ic", "fluent_speech_commands_dataset", (), write_intents,
        (Extent(3, 4, 1, 3), Extent(20, 12, 6, 12)),
    ),
    Layout("sf", "SNIPS", (), write_slots, (Extent(2, 5, 1, 3), Extent(8, 30, 4, 12))),
    Layout("er", "IEMOCAP", (), write_emotions, (Extent(10, 1, 0, 0), Extent(10, 5, 0, 0))),
)  # fmt: skip
"""One entry per task; emotions count dialogues of two speakers, others see :class:`Extent`."""

_TINY_SYNTHESIS = {
    "unlabelled_speakers": 0,
    "labelled_speakers": 3,
    "labelled_utterances": 4,
    "heldout_speakers": 1,
    "heldout_utterances": 3,
    "sid_utterances": 2,
}
_TINY_DIGITS = {"labelled_utterances": 4, "heldout_utterances": 2, "sid_utterances": 3}


def find_layouts(tasks: Sequence[str]) -> list[Layout]:
    """Return the layouts of the named tasks, in the table's order; no name = all of them.

    Raises:
        ConfigError: names all tasks that there are not.
    """
    wanted = {task.lower() for task in tasks}
    known = {layout.task for layout in LAYOUTS}
    if wanted - known:
        names = ", ".join(sorted(known))
        problems = [f"no task {task!r}; known: {names}" for task in sorted(wanted - known)]
        raise ConfigError("--tasks", problems)
    return [layout for layout in LAYOUTS if not wanted or layout.task in wanted]


def prepare_superb(
    corpus: str,
    out: str | Path,
    *,
    size: str = "mini",
    seed: int = 0,
    tasks: Sequence[str] = (),
    processes: int = 2,
) -> dict[str, Path]:
    """Make the data of SUPERB's tasks in ``out``; what is there already is kept.

    Args:
        corpus: ``synthetic`` or ``digits:PATH`` (FSDD folder or tar.gz).
        out: becomes ``--data`` of ``python -m s3prl_upstreams.run_downstream``.
        size: one of :data:`SIZES`.
        seed: decides everything that is random.
        tasks: short names in any case; none = all ten.
        processes: layouts, or speakers, at a time.

    Returns:
        Task -> folder of its data.

    Raises:
        ConfigError: unknown tasks, no process or a negative seed.
        DataDirError: another corpus, or ``out`` was made of another one.
    """
    kind, source = parse_corpus(corpus)
    if kind not in KINDS:
        raise DataDirError(f"--corpus {corpus}: only {' and '.join(KINDS)} can say what tasks need")
    layouts = find_layouts(tasks)
    problems = [
        f"{name} is {value}; it must be at least {least}"
        for name, value, least in (("seed", seed, 0), ("processes", processes, 1))
        if value < least
    ]
    if problems:
        raise ConfigError("prepare_superb", problems)
    root = Path(out)
    _check_stamp(root, {"corpus": kind, "size": size, "seed": seed})
    todo = [layout for layout in layouts if not _is_made(root, kind, layout)]
    digits = load_digits(source) if kind == "digits" and todo else {}
    if any(kind in layout.base for layout in todo):
        _make_base(root, kind, digits, size, seed, processes)
    plan = _Plan(root, size, seed, digits)
    _make_layouts(plan, [layout for layout in todo if kind not in layout.base], processes)
    return {layout.task: root / layout.folder for layout in layouts}


def _check_stamp(root: Path, stamp: dict[str, object]) -> None:
    path = root / STAMP
    if path.exists() and json.loads(path.read_text(encoding="utf-8")) != stamp:
        raise DataDirError(
            f"{root} holds data of another corpus, size or seed (see {path}); "
            "choose another folder or remove this one"
        )
    write_json(path, stamp)


def _is_made(root: Path, kind: str, layout: Layout) -> bool:
    folder = root / layout.folder
    return folder.is_dir() and ((root if kind in layout.base else folder) / DONE).exists()


def _make_base(root: Path, kind: str, digits: Digits, size: str, seed: int, processes: int) -> None:
    """Make LibriSpeech, VoxCeleb1 and the lexicon, without the speech that has no labels."""
    if kind == "digits":
        changes = _TINY_DIGITS if size == "tiny" else {}
        write_digits(digits, root, DigitsPlan(seed=seed, unlabelled_utterances=0, **changes))
    else:
        if (root / DONE).exists():  # whole once, but part of it was removed
            forget_speakers(root)
        changes = _TINY_SYNTHESIS if size == "tiny" else {}
        plan = SynthesisPlan(seed=seed, unlabelled_utterances=0, **changes)
        synthesise(root, plan, processes)
    write_text(root / DONE, "")


@dataclass(frozen=True)
class _Plan:
    """What the processes that make layouts need to know."""

    root: Path
    size: str
    seed: int
    digits: Digits
    """Recordings; none = synthetic voices."""

    def talker(self, rng: np.random.Generator) -> Talker:
        if self.digits:
            return DigitTalker(self.digits, rng)
        return SyntheticTalker(self.seed, rng)


_received: list[_Plan] = []


def _make_layouts(plan: _Plan, layouts: list[Layout], processes: int) -> None:
    import_once()
    context = multiprocessing.get_context("fork")
    # The recordings reach the processes by the fork, not through a pipe.
    with context.Pool(processes, _receive, (plan,), maxtasksperchild=1) as pool:
        names = [layout.task for layout in layouts]
        done = pool.imap_unordered(_make_layout, names, chunksize=1)
        for _ in tqdm(done, total=len(names), desc="SUPERB layouts", unit="task"):
            pass


def _receive(plan: _Plan) -> None:
    _received[:] = [plan]


def _make_layout(task: str) -> None:
    """Make one layout; runs in a fresh process."""
    (plan,), (layout,) = _received, find_layouts([task])
    assert layout.write is not None
    rng = np.random.default_rng([plan.seed, 17, *task.encode()])
    extent = layout.extents[SIZES.index(plan.size)]
    layout.write(LayoutJob(plan.root / layout.folder, plan.talker(rng), extent, rng))
    write_text(plan.root / layout.folder / DONE, "")
