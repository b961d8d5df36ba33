"""Order and rotation of checkpoint folders, and joined options of data sets, exactly."""

from __future__ import annotations

import builtins
import dataclasses
import re
from typing import Any

import golden_whisper as golden
import pytest

from espnet_kd.data.dataset_strings import parse_datasets
from espnet_kd.whisper.checkpoint_names import CheckpointName, by_step, too_many, worst_first

pytestmark = golden.marks


def test_order_of_checkpoints() -> None:
    case = golden.document("misc")["checkpoints"]
    names = case["dirs"]
    assert by_step(names) == case["sorted_by_step"]
    assert worst_first(names) == case["sorted_best_worst_first"]
    assert by_step(names)[-1:] == [case["last"]]
    for name in (*case["sorted_by_step"], *case["sorted_best_worst_first"]):
        assert str(CheckpointName.parse(name)) == name


def test_rotation_of_checkpoints() -> None:
    """Each ``after_rotate_2`` or ``then_rotate_best_1`` says what is left, one after the other."""
    case = golden.document("misc")["checkpoints"]
    steps = [(re.fullmatch(r"\w*?_rotate(_best)?_(\d+)", key), left) for key, left in case.items()]
    rotations = [(match, left) for match, left in steps if match is not None]
    assert rotations
    names = list(case["dirs"])
    for match, left in rotations:
        ordered = worst_first(names) if match[1] else by_step(names)
        gone = too_many(ordered, int(match[2]))
        names = [name for name in names if name not in gone]
        assert sorted(names) == sorted(left), match[0]


def _cases() -> list[Any]:
    if not golden.ROOT.is_dir():
        return [pytest.param(None, id="none")]
    return [pytest.param(case, id=str(i)) for i, case
            in enumerate(golden.document("misc")["dataset_strings"])]  # fmt: skip


@pytest.mark.parametrize("case", _cases())
def test_joined_data_sets(case: dict[str, Any]) -> None:
    if "error" in case:
        with pytest.raises(getattr(builtins, case["error"])):
            parse_datasets(**case["args"])
    else:
        found = [dataclasses.asdict(part) for part in parse_datasets(**case["args"])]
        assert found == case["result"]
