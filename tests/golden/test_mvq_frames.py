"""Frames by samples, against counts of the reference: a teacher's own, and those icefall keeps."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from golden_cases import golden_root, params
from golden_mvq import SYSTEM

from espnet_kd.data.codes_info import FrameRule

pytestmark = pytest.mark.golden
TEACHER, PUBLISHED = FrameRule(), FrameRule(window=FrameRule().hop)


def _rows() -> Iterator[tuple[str, tuple[dict[str, int]]]]:
    """Rows of the files that count frames."""
    for path in sorted((golden_root() / SYSTEM).glob("*.json")):
        for row in json.loads(path.read_text("utf-8")).get("rows", ()):
            if "teacher_conv_frames" in row:
                yield f"{path.stem}-{row['num_samples']}", (row,)


@pytest.mark.parametrize("row", params(SYSTEM, _rows()))
def test_frames(row: dict[str, int]) -> None:
    samples = row["num_samples"]
    assert TEACHER.frames(samples) == row["teacher_conv_frames"]
    assert PUBLISHED.frames(samples) == row["kept_cap"]
