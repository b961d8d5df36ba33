"""The run JSON: what a recipe writes after a run and what a report is made of.

One file per run (one system, one seed). Files that share ``name`` and ``corpus`` are seeds of
one system: tables show their mean ± standard deviation and their number.

.. code-block:: json

    {
      "schema": 1,
      "name": "student",
      "role": "student",
      "seed": 0,
      "corpus": "fsdd",
      "command": "egs/mini/armhubert1/run.sh --seed 0",
      "description": "ARMHuBERT, 4 layers, distilled",
      "scores": [
        {"task": "ASR", "metric": "WER", "value": 12.3, "unit": "%", "direction": "lower"},
        {"task": "SID", "metric": "accuracy", "value": 91.0, "unit": "%", "direction": "higher"}
      ],
      "profile": {"parameters": {"total": 26448448}},
      "pruning": {"target": 0.75, "reached": 0.7504},
      "curves": "../exp/student/tensorboard"
    }

``role``
    ``teacher`` (what is compressed), ``student`` (the distilled model), ``baseline`` (what the
    student has to beat: same architecture untrained, or trained without a teacher).
``scores``
    ``direction`` says whether a ``lower`` or a ``higher`` value is better; ``unit`` is optional.
``profile``
    what ``python -m espnet_kd.bin.profile DIR --json OUT`` wrote (the object itself, or the path
    of the file). Optional; without it the run is left out of the trade-off plot.
``pruning``
    the content of ``pruning.json`` that ``python -m espnet_kd.bin.prune`` wrote, and as ``picture``
    the path of its figure. Optional.
``curves``
    training curves: a folder of TensorBoard event files (ESPnet: ``exp/…/tensorboard``), an ESPnet
    ``train.log``, or the numbers themselves, ``{"valid/loss": [[update, value], …]}``. Optional.

Only ``name``, ``role`` and ``scores`` are required. Paths are relative to the JSON file.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from espnet_kd.errors import ConfigError, KDError
from espnet_kd.utils.files import write_json

SCHEMA_VERSION = 1
ROLES = ("teacher", "student", "baseline")
DIRECTIONS = ("lower", "higher")


@dataclass(frozen=True)
class Score:
    """One number of one downstream task."""

    task: str
    """Task as the field names it, e.g. ``ASR``."""
    metric: str
    """Metric within the task, e.g. ``WER``."""
    value: float
    """The number in ``unit``."""
    direction: str
    """``lower`` or ``higher`` is better."""
    unit: str = ""
    """Unit for the column head, e.g. ``%``."""

    @property
    def label(self) -> str:
        """Column head with an arrow towards better, e.g. ``ASR WER % ↓``."""
        arrow = "↓" if self.direction == "lower" else "↑"
        return " ".join(part for part in (self.task, self.metric, self.unit, arrow) if part)


@dataclass(frozen=True)
class Run:
    """One run of one system with one seed (fields: module docstring)."""

    name: str
    """System name; runs that share it (and ``corpus``) are seeds of one system."""
    role: str
    """``teacher``, ``student`` or ``baseline``."""
    scores: tuple[Score, ...]
    """Downstream results."""
    seed: int = 0
    """Random seed of the run."""
    corpus: str = ""
    """Speech that the scores were measured on."""
    command: str = ""
    """Command that repeats the run."""
    description: str = ""
    """What distinguishes the system, in a few words."""
    profile: dict[str, Any] = field(default_factory=dict)
    """Parameters, MACs, real-time factor and memory (``espnet_kd.bin.profile``)."""
    pruning: dict[str, Any] = field(default_factory=dict)
    """What was removed (``espnet_kd.bin.prune``), with ``picture``: absolute after loading."""
    curves: str | dict[str, list[list[float]]] = ""
    """Training curves: absolute path after loading, or the numbers."""

    @property
    def label(self) -> str:
        """System and corpus, the key that groups seeds."""
        return f"{self.name} ({self.corpus})" if self.corpus else self.name

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the run JSON atomically."""
        write_json(path, {"schema": SCHEMA_VERSION, **asdict(self)})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], source: str = "run") -> Run:
        """Build a run from the JSON object.

        Args:
            values: the object of the module docstring.
            source: file name for the message.

        Raises:
            ConfigError: names every problem of the object at once.
        """
        problems = _problems(values)
        if problems:
            raise ConfigError(source, problems)
        known = {key: value for key, value in values.items() if key not in ("schema", "scores")}
        scores = tuple(Score(**score) for score in values["scores"])
        return cls(scores=scores, **known)


def load_run(path: str | os.PathLike[str]) -> Run:
    """Read one run JSON; relative paths in it become absolute.

    Raises:
        KDError: the file (or the profile it names) is missing or is not JSON.
        ConfigError: lists everything that is wrong in the file.
    """
    values = read_object(Path(path))
    folder = Path(path).resolve().parent
    if isinstance(values.get("profile"), str):
        values["profile"] = read_object(folder / values["profile"])
    pruning = values.get("pruning")
    if isinstance(pruning, dict) and isinstance(pruning.get("picture"), str):
        pruning["picture"] = str(folder / pruning["picture"])
    if isinstance(values.get("curves"), str) and values["curves"]:
        values["curves"] = str(folder / values["curves"])
    return Run.from_dict(values, source=str(path))


def load_runs(paths: Iterable[str | os.PathLike[str]]) -> list[Run]:
    """Read many run JSONs, teachers first, then students, then baselines (stable)."""
    runs = [load_run(path) for path in paths]
    if not runs:
        raise KDError("no run JSON given: pass at least one file, e.g. --runs results/*.json")
    return sorted(runs, key=lambda run: ROLES.index(run.role))


def load_scores(folder: str | os.PathLike[str]) -> tuple[Score, ...]:
    """Read the ``score.json`` of every task's folder below ``folder``, in the order of their names.

    Raises:
        KDError: a file is damaged.
    """
    found = []
    for path in sorted(Path(folder).glob("*/score.json")):
        values = read_object(path)
        found.append(Score(**{key: values[key] for key in Score.__dataclass_fields__}))
    return tuple(found)


def read_object(path: Path, remedy: str = "Write it again with Run.save.") -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        KDError: the file is missing, no JSON, or no object; with ``remedy``.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise KDError(f"cannot read {path}: {error}. {remedy}") from error
    if not isinstance(values, dict):
        raise KDError(f"{path}: expected a JSON object, found {type(values).__name__}. {remedy}")
    return values


def _problems(values: Mapping[str, Any]) -> list[str]:
    known = {"schema", *Run.__dataclass_fields__}
    problems = [f"unknown key {key!r}" for key in values if key not in known]
    problems += [f"missing key {key!r}" for key in ("name", "role", "scores") if key not in values]
    if values.get("schema", SCHEMA_VERSION) != SCHEMA_VERSION:
        problems.append(f"schema {values['schema']!r}: this version reads {SCHEMA_VERSION}")
    if "role" in values and values["role"] not in ROLES:
        problems.append(f"role {values['role']!r}: expected one of {', '.join(ROLES)}")
    if not isinstance(values.get("profile", {}), Mapping):
        problems.append("profile: expected an object or the path of a file")
    if not isinstance(values.get("pruning", {}), Mapping):
        problems.append("pruning: expected the content of pruning.json")
    scores = values.get("scores", [])
    if not isinstance(scores, (list, tuple)):
        return [*problems, "scores: expected a list"]
    return problems + [p for i, score in enumerate(scores) for p in _score_problems(i, score)]


def _score_problems(index: int, score: Any) -> list[str]:
    where = f"scores[{index}]"
    if not isinstance(score, Mapping):
        return [f"{where}: expected an object"]
    required = ("task", "metric", "value", "direction")
    problems = [f"{where}: missing key {key!r}" for key in required if key not in score]
    fields = Score.__dataclass_fields__
    problems += [f"{where}: unknown key {key!r}" for key in score if key not in fields]
    if "direction" in score and score["direction"] not in DIRECTIONS:
        problems.append(f"{where}: direction {score['direction']!r}: expected lower or higher")
    value = score.get("value", 0.0)
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        problems.append(f"{where}: value {value!r} is not a finite number")
    return problems
