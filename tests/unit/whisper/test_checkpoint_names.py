"""Names of checkpoint folders: what they say, their order, and which are too many."""

from __future__ import annotations

import pytest

from espnet_kd.whisper.checkpoint_names import CheckpointName, by_step, too_many, worst_first

NAMES = [
    "checkpoint-1000-epoch-2",
    "checkpoint-90-epoch-1",
    "checkpoint-1000-epoch-2-val-wer-101.250",
    "checkpoint-90-epoch-1-val-wer-9.500",
    "checkpoint-500-epoch-2-val-wer-9.500",
    "student",
    "checkpoint-x-epoch-1",
    "checkpoint.pth",
]


def test_names_say_what_they_are() -> None:
    plain = CheckpointName(90, 1)
    best = CheckpointName(90, 1, "val-wer", 9.5)
    assert (str(plain), str(best)) == (NAMES[1], NAMES[3])
    assert [CheckpointName.parse(name) for name in (NAMES[1], NAMES[3])] == [plain, best]
    assert CheckpointName.parse("student") is None


@pytest.mark.parametrize(
    ("criterion", "value", "text"),
    [
        ("val-loss", 0.1234567, "val-loss-0.123457"),
        ("train-loss", -1.5, "train-loss--1.500000"),
        ("val-wer_dev-clean", 7.0, "val-wer_dev-clean-7.000"),
    ],
)
def test_any_criterion(criterion: str, value: float, text: str) -> None:
    name = str(CheckpointName(4, 2, criterion, value))
    assert name == f"checkpoint-4-epoch-2-{text}"
    again = CheckpointName.parse(name)
    assert again is not None
    assert again.criterion == criterion
    assert str(again) == name


def test_steps_count_as_numbers() -> None:
    assert by_step(NAMES) == ["checkpoint-90-epoch-1", "checkpoint-1000-epoch-2"]


def test_the_worst_goes_first_and_of_equals_the_later() -> None:
    assert worst_first(NAMES) == [NAMES[2], NAMES[4], NAMES[3]]
    assert worst_first(NAMES, higher_is_better=True) == [NAMES[4], NAMES[3], NAMES[2]]


@pytest.mark.parametrize(("limit", "gone"), [(None, ""), (0, "abc"), (2, "a"), (3, ""), (9, "")])
def test_too_many(limit: int | None, gone: str) -> None:
    assert too_many(list("abc"), limit) == list(gone)
