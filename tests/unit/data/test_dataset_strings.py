"""Options of several data sets joined by +."""

from __future__ import annotations

import pytest

from espnet_kd.data.dataset_strings import DatasetPart, parse_datasets, parse_samples
from espnet_kd.errors import ConfigError


def test_each_has_its_own() -> None:
    assert parse_datasets("a/b+c", "x+y", "train+dev", "text+sentence", "1.5+2") == [
        DatasetPart("a/b", "x", "train", "text", 1.5),
        DatasetPart("c", "y", "dev", "sentence", 2.0),
    ]


def test_defaults() -> None:
    assert parse_datasets("a+b") == [
        DatasetPart(name, "default", "train", "text", None) for name in "ab"
    ]


def test_all_problems_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_datasets("a++c", "x", "train+dev", dataset_samples="1+2")
    assert [problem.partition(" for ")[0] for problem in caught.value.problems] == [
        "dataset names 'a++c': one of them is empty", "1 config names", "2 splits", "2 samples",
    ]  # fmt: skip


@pytest.mark.parametrize("joined", ["", "1+", "1+x", "1+0", "nan", "inf"])
def test_weights_are_positive_numbers(joined: str) -> None:
    with pytest.raises(ConfigError, match="no positive numbers"):
        parse_samples(joined)
    with pytest.raises(ConfigError, match="no positive numbers"):
        parse_datasets("a", dataset_samples=joined)
