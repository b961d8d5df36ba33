"""Codes in text files are looked at before the first batch."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest

from espnet_kd.errors import DataDirError
from espnet_kd.tasks.codes_check import check_text_codes, stream_problems


def options(train: Path, valid: Path | None) -> Namespace:
    streams = {
        part: [
            ("wav.scp", "speech", "sound"),
            *([(str(path), "codes", "text_int")] if path else []),
        ]
        for part, path in (("train", train), ("valid", valid))
    }
    return Namespace(
        collect_stats=False,
        **{f"{part}_data_path_and_name_and_type": found for part, found in streams.items()},
    )


def test_validation_needs_codes_too(tmp_path: Path) -> None:
    assert stream_problems(options(tmp_path, tmp_path), "masked_prediction") == []
    (problem,) = stream_problems(options(tmp_path, None), "masked_prediction")
    assert "give --valid_data_path_and_name_and_type PATH,codes," in problem


@pytest.mark.parametrize(
    ("row", "codebooks", "named"),
    [
        ("3 5 0", 1, "valid:2: utterance u1 has code 5, codes are 0 to 4"),
        ("3 -2 0", 1, "valid:2: utterance u1 has code -2"),
        ("3 a 0", 1, "valid:2: utterance u1: .*'a'"),
        ("3 4 0", 2, "train: text_int has one code per frame, num_codebooks is 2"),
    ],
)
def test_codes_that_cannot_be_predicted(
    tmp_path: Path, row: str, codebooks: int, named: str
) -> None:
    for name, last in (("train", "-1 4"), ("valid", row)):
        (tmp_path / name).write_text(f"u0 0 1\nu1 {last}\n")
    args = options(tmp_path / "train", tmp_path / "train")
    check_text_codes(args, 1, 5)
    with pytest.raises(DataDirError, match=named):
        check_text_codes(options(tmp_path / "train", tmp_path / "valid"), codebooks, 5)
