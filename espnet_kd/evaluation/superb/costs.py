"""What a model of the table costs: counted from the model, or read from a profile's JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from espnet_kd.errors import ScoreError
from espnet_kd.evaluation.runs import read_object
from espnet_kd.evaluation.superb.models import Model


def with_costs(model: Model, place: str) -> Model:
    """Fill in parameters and MACs, and the real-time factor if ``place`` has one.

    MACs are the flop counter's over the leaderboard's 32 utterances, without the extras that the
    leaderboard's tool adds for torch's own attention function (0.2 % of HuBERT Base): students'
    own attention modules, such as ours, never had them, see ``espnet_kd/evaluation/macs.py``.

    Args:
        model: a row.
        place: checkpoint, name of an architecture, or what ``espnet_kd.bin.profile --superb
            --json`` wrote.

    Raises:
        KDError: no such model or file.
        ScoreError: a profile without SUPERB's MACs.
    """
    measured = read_object(Path(place), _REMEDY) if place.endswith(".json") else _count(place)
    parameters = _number(measured, "parameters", "total", 1e-6)
    macs = _number(measured, "superb_macs", "total", 1e-9)
    rtf = _number(measured, "time", "rtf_cpu", 1.0)
    found = {"parameters": parameters, "macs": macs}
    lacking = [f"{key} is not in it; {_REMEDY}" for key, value in found.items() if value is None]
    if lacking:
        raise ScoreError(place, lacking)
    return replace(model, parameters=parameters, macs=macs, rtf=model.rtf if rtf is None else rtf)


_REMEDY = "write it with espnet_kd.bin.profile DIR --superb --json."


def _count(place: str) -> dict[str, Any]:
    from espnet_kd.evaluation.profile import profile

    return profile(place, superb=True, timing=False)


def _number(values: Mapping[str, Any], block: str, key: str, scale: float) -> float | None:
    part = values.get(block)
    value = part.get(key) if isinstance(part, Mapping) else None
    return scale * value if isinstance(value, (int, float)) else None
