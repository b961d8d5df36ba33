"""Labels are read strictly: what is missing or of another type is told with its line."""

from __future__ import annotations

import json
from typing import Any

import pytest

from espnet_kd.data.pseudo_labels import LABELS, PseudoLabel, parse_label, read_labels
from espnet_kd.errors import DataDirError

VALUES: dict[str, Any] = {
    "id": "u", "text": "hi", "whisper_transcript": "<|startoftranscript|> hi", "token_ids": [1, 2],
    "language": "en", "task": "transcribe", "duration": 1, "source_ids": ["u"],
    "condition_on_prev": 0, "reference": None, "avg_logprob": -0.5, "mean_entropy": None,
    "num_tokens": 2, "truncated": False,
}  # fmt: skip


def test_lines_are_read_back(tmp_path):
    label = PseudoLabel(**VALUES)
    (tmp_path / LABELS).write_text(label.line() + json.dumps({**VALUES, "wer": 3.0}) + "\n")
    assert list(read_labels(tmp_path)) == [label, label]


def test_ids_may_stand_for_the_transcript():
    assert parse_label({**VALUES, "whisper_transcript": [1, 2]}, "x").whisper_transcript == [1, 2]


def test_all_problems_of_a_line_are_told(tmp_path):
    values = {**VALUES, "duration": "long", "token_ids": 3}
    del values["id"]
    (tmp_path / LABELS).write_text(json.dumps(values) + "\n")
    with pytest.raises(
        DataDirError, match=r"labels\.jsonl:1: id is missing; .*token_ids.*duration"
    ):
        list(read_labels(tmp_path))


@pytest.mark.parametrize(("line", "message"), [("{oops", "not JSON"), ("[1]", "a list instead")])
def test_lines_of_another_kind(tmp_path, line, message):
    (tmp_path / LABELS).write_text(line + "\n")
    with pytest.raises(DataDirError, match=message):
        list(read_labels(tmp_path))


def test_an_unfinished_folder(tmp_path):
    with pytest.raises(DataDirError, match="label first"):
        list(read_labels(tmp_path))
