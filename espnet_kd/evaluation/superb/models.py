"""A row of a SUPERB table, and RESULTS.json, which brings rows of one's own.

.. code-block:: json

    {
      "models": [
        {
          "name": "student",
          "role": "student",
          "parameters": 26.4,
          "macs": 501.6,
          "rtf": 0.05,
          "source": "egs/superb/run.sh",
          "scores": {
            "PR": {"PER": 7.7}, "ASR": {"WER": 10.0}, "KS": {"accuracy": 96.9},
            "QbE": {"MTWV": 0.0635}, "SID": {"accuracy": 65.0}, "ASV": {"EER": 5.7},
            "SD": {"DER": 7.1}, "IC": {"accuracy": 97.1},
            "SF": {"slot_type_f1": 87.6, "slot_value_cer": 26.1}, "ER": {"accuracy": 62.9}
          }
        }
      ]
    }

Only ``name`` and ``scores`` are required. Scores are in per cent, QbE's MTWV is a fraction. A task
with one number may be that number alone, and a number that looks like another unit may be
``{"value": 0.4, "unit": "%"}``. ``partial`` maps a task to why its number is not the full one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from espnet_kd.errors import ConfigError, ScoreError
from espnet_kd.evaluation.runs import read_object
from espnet_kd.evaluation.superb.metrics import TASKS, closest
from espnet_kd.evaluation.superb.scores import Scores, overall, superb_s
from espnet_kd.utils.options import from_mapping, problems_of

ROLES = ("teacher", "student", "baseline", "published")
DERIVED = ("overall", "superb_s", "rank", "missing")
"""Keys that our own output has besides; they are computed again."""
_COSTS = {
    "parameters": (1e5, "the number of parameters in millions (26.4)"),
    "macs": (1e6, "1e9 MACs over SUPERB's 32 utterances (501.6)"),
    "rtf": (1e3, "seconds of computing per second of speech (0.05)"),
}
"""Field to the value from which on it cannot be meant, and what is."""


@dataclass(frozen=True)
class Printed:
    """What a source prints for one of our two scores."""

    score: str
    """``overall`` or ``superb_s``."""
    text: str
    """The number as it is printed."""
    by: str
    """Which source."""
    digits: str
    """``rounded``, ``truncated``, or ``differs``: not what the formula gives."""


@dataclass(frozen=True)
class Model:
    """One row: scores and costs of a model."""

    name: str
    """Name in the table."""
    scores: Scores
    """Its scores."""
    role: str = "student"
    """``teacher``, ``student``, ``baseline`` or ``published``."""
    parameters: float | None = None
    """Millions of parameters."""
    macs: float | None = None
    """1e9 multiply-accumulates over the leaderboard's 32 utterances."""
    rtf: float | None = None
    """Real-time factor on a CPU, where it was measured."""
    source: str = ""
    """Where the numbers come from."""
    partial: dict[str, str] = field(default_factory=dict)
    """Task to why its number is not the full one; such a model has no overall scores."""
    printed: tuple[Printed, ...] = ()
    """What sources print for it."""

    def __post_init__(self) -> None:
        problems = [] if self.name.strip() else ["name is empty"]
        if self.role not in ROLES:
            problems.append(f"role is {self.role!r}; expected one of {', '.join(ROLES)}")
        for name, (limit, meaning) in _COSTS.items():
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and 0 <= value < limit):
                problems.append(f"{name} is {value:g}; expected {meaning}")
        problems += [
            f"partial: unknown task {t}{closest(t, TASKS)}" for t in self.partial if t not in TASKS
        ]
        if problems:
            raise ConfigError(self.name or "model", problems)

    def missing(self) -> list[str]:
        """What overall scores lack: missing numbers, and partial ones with the reason."""
        partial = [f"{task} ({why})" for task, why in self.partial.items()]
        return self.scores.missing() + partial

    def overall(self) -> float | None:
        """*overall*, or None while something is missing."""
        return None if self.missing() else overall(self.scores)

    def superb_s(self) -> float | None:
        """*superb_s*, or None while something is missing."""
        return None if self.missing() else superb_s(self.scores)

    def to_dict(self) -> dict[str, Any]:
        """The object that RESULTS.json has for it, with the overall scores."""
        costs = {name: getattr(self, name) for name in _COSTS if getattr(self, name) is not None}
        partial = {"partial": self.partial} if self.partial else {}
        return {
            "name": self.name,
            "role": self.role,
            **costs,
            "source": self.source,
            "scores": self.scores.nested(),
            **partial,
            "overall": self.overall(),
            "superb_s": self.superb_s(),
            "missing": self.missing(),
        }


def load_models(path: str | Path) -> list[Model]:
    """Read RESULTS.json (module docstring).

    Raises:
        KDError: no such file, or no JSON object.
        ScoreError: everything that is wrong in it, with model and task.
    """
    remedy = "RESULTS.json is described in espnet_kd.evaluation.superb.models."
    return read_models(read_object(Path(path), remedy), str(path))


def read_models(values: Mapping[str, Any], source: str) -> list[Model]:
    """The models of an object with a list ``models``; ``source`` names it in messages."""
    entries = values.get("models")
    if not isinstance(entries, (list, tuple)) or not entries:
        raise ScoreError(source, ['there is no list "models" with at least one model'])
    models: list[Model] = []
    problems: list[str] = []
    for index, entry in enumerate(entries):
        name = entry.get("name") if isinstance(entry, Mapping) else None
        try:
            models.append(_read_model(entry))
        except ConfigError as error:
            problems += [f"{name or f'models[{index}]'}: {text}" for text in error.problems]
    if problems:
        raise ScoreError(source, problems)
    refuse_namesakes(models, source)
    return models


def refuse_namesakes(models: list[Model], source: str) -> None:
    """Raise a ScoreError where two models share a name."""
    counts = Counter(model.name for model in models)
    twice = [f"{name} is there {n} times" for name, n in counts.items() if n > 1]
    if twice:
        raise ScoreError(source, [*twice, "give each model a name of its own"])


def _read_model(entry: object) -> Model:
    if not isinstance(entry, Mapping):
        raise ScoreError("model", [f"expected an object, not {entry!r:.60}"])
    values = {key: value for key, value in entry.items() if key not in DERIVED}
    problems: list[str] = []
    if "scores" in values:
        try:
            values["scores"] = Scores.from_nested(values["scores"])
        except ScoreError as error:
            problems += error.problems
            values["scores"] = Scores()
    try:
        with problems_of("model"):
            model = from_mapping(Model, values, subject="model")
    except ConfigError as error:
        raise ScoreError("model", problems + error.problems) from None
    if problems:
        raise ScoreError("model", problems)
    return model
