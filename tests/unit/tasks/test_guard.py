"""Batches that are not finite are named; too many skipped updates stop the run."""

from __future__ import annotations

import logging

import pytest
import torch

from espnet_kd.tasks.guard import FiniteGuard, TrainingStoppedError, teacher_fault
from espnet_kd.tasks.teacher import View


def view(*values: float) -> View:
    return View([torch.tensor(values).reshape(-1, 1, 1)], None, None)


def test_stops_after_updates_in_a_row() -> None:
    guard = FiniteGuard(max_bad_steps=2, accum_grad=3)
    for _ in range(6):
        guard.before_forward()
    with pytest.raises(TrainingStoppedError, match="last 2 updates"):
        guard.before_forward()


def test_an_update_begins_the_count_again() -> None:
    guard = FiniteGuard(max_bad_steps=1)
    for _ in range(5):
        guard.before_forward()
        guard.updated()


def test_finite_losses_are_not_mentioned(caplog: pytest.LogCaptureFixture) -> None:
    FiniteGuard(1).check(torch.tensor(1.0), ["a"], [None])
    assert not caplog.records


def test_student_and_teacher_are_told_apart(caplog: pytest.LogCaptureFixture) -> None:
    guard = FiniteGuard(1)
    nan = torch.tensor(float("nan"))
    with caplog.at_level(logging.WARNING):
        guard.check(nan, ["a", "b"], [view(1.0, 2.0), None])
        guard.check(nan, ["a", "b"], [view(1.0, float("inf")), None])
    first, second = (record.getMessage() for record in caplog.records)
    assert "a, b (the student's loss is nan)" in first
    assert "TEACHER's output is NaN or infinite for b:" in second
    guard.before_forward()
    with pytest.raises(TrainingStoppedError, match="TEACHER"):
        guard.before_forward()


def test_finite_teacher_is_not_at_fault() -> None:
    assert teacher_fault(["a"], [view(1.0), None]) is None
