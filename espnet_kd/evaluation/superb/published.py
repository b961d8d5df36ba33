"""Rows of papers and of the leaderboard (``published.yaml``, with what they print)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from espnet_kd.errors import ScoreError
from espnet_kd.evaluation.superb.metrics import closest
from espnet_kd.evaluation.superb.models import Model, read_models

_ALL_OR_NONE = {"yes": True, "true": True, "no": False, "false": False}
FILE = Path(__file__).with_name("published.yaml")


def published_models() -> list[Model]:
    """All published rows; ``source`` is the text of their sources."""
    values = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    sources = values["sources"]
    rows = [
        {**row, "role": "published", "source": "; ".join(sources[key] for key in row["source"])}
        for row in values["models"]
    ]
    return read_models({"models": rows}, FILE.name)


def choose_published(wanted: Sequence[str]) -> list[Model]:
    """Published rows by ``["yes"]`` or ``["true"]`` (all), ``["no"]`` or ``["false"]`` (none), or
    their names in any case.

    Raises:
        ScoreError: unknown names, all listed with the closest known ones.
    """
    rows = {model.name.lower(): model for model in published_models()}
    if len(wanted) == 1 and wanted[0].lower() in _ALL_OR_NONE:
        return list(rows.values()) if _ALL_OR_NONE[wanted[0].lower()] else []
    names = tuple(model.name for model in rows.values())
    unknown = [f"no row {w}{closest(w, names)}" for w in wanted if w.lower() not in rows]
    if unknown:
        raise ScoreError("--published", unknown)
    return [rows[name] for name in dict.fromkeys(word.lower() for word in wanted)]
