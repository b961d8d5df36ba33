"""Batches and their shares among processes against the published ones, exactly."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from golden_cases import golden_root, params

from espnet_kd.data.length_batches import LengthLimits, fill_batches, permuted, share_published

pytestmark = pytest.mark.golden

SYSTEM = "dphubert"
SAMPLE_RATE = 16000
PUBLISHED_SEED = 0


def cases() -> list[tuple[str, tuple[Any, ...]]]:
    """(id, (stored lengths and limits, seconds per batch, batches and shares)) of every file."""
    found = []
    for path in sorted((golden_root() / SYSTEM).glob("batching*.json")):
        stored = json.loads(path.read_text("utf-8"))
        for key, value in stored.items():
            if match := re.fullmatch(r"seconds_per_batch_(\d+)", key):
                found.append((f"{path.stem}/{match[1]}s", (stored, int(match[1]), value)))
    return found


@pytest.mark.parametrize(("stored", "seconds", "expected"), params(SYSTEM, cases(), arity=3))
def test_published_batches(stored: dict[str, Any], seconds: int, expected: dict[str, Any]) -> None:
    limits = LengthLimits(
        shortest=stored["min_len"],
        longest=stored["max_len"],
        per_batch=seconds * SAMPLE_RATE,
        crop_longer=False,
    )
    batches = fill_batches(stored["lengths"], limits)
    assert batches == expected["batches"]
    ordered = permuted(batches, PUBLISHED_SEED)
    worlds = {key: value for key, value in expected.items() if key.startswith("world")}
    assert worlds
    for key, ranks in worlds.items():
        processes = int(key.removeprefix("world"))
        assert [share_published(ordered, processes, rank) for rank in range(processes)] == ranks
