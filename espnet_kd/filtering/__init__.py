"""Which pseudo-labels to keep: measures with and without references, limits, decisions."""

from __future__ import annotations

from espnet_kd.filtering.decide import Decision, Limit, decide
from espnet_kd.filtering.measure import Item, Measure, MeasureOptions
from espnet_kd.filtering.registry import MEASURES, build_measure

__all__ = [
    "MEASURES",
    "Decision",
    "Item",
    "Limit",
    "Measure",
    "MeasureOptions",
    "build_measure",
    "decide",
]
