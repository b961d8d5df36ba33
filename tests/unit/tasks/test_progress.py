"""Progress passes every batch on and tells how long the run still takes."""

from __future__ import annotations

import logging
import sys

import pytest

from espnet_kd.tasks import progress
from espnet_kd.tasks.progress import Progress, RunClock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> RunClock:
    """A clock on which every look takes ten seconds."""
    now = iter(range(0, 10_000, 10))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(now)))
    return RunClock(first_epoch=3, max_epoch=4)


def test_time_left_counts_only_this_session(clock: RunClock) -> None:
    assert clock.left(3, 0.0) == "unknown time"
    assert clock.left(3, 0.5) == "30 seconds"  # 10 s for half an epoch of two


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("show", [True, False])
def test_all_batches_come_through(
    clock: RunClock, monkeypatch: pytest.MonkeyPatch, terminal: bool, show: bool
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    batches = Progress(["a", "b", "c"], 3, clock, show=show)
    assert len(batches) == 3
    assert list(batches) == ["a", "b", "c"]


def test_log_lines_are_rare(clock: RunClock, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        list(Progress(list(range(40)), 3, clock, show=True))
    lines = [record.getMessage() for record in caplog.records]
    assert 1 <= len(lines) < 10
    assert lines[0].startswith("epoch 3/4: ")
    assert "left" in lines[0]


def test_streams_have_no_length(clock: RunClock) -> None:
    stream = Progress(iter("ab"), 3, clock, show=True)
    assert list(stream) == ["a", "b"]
    with pytest.raises(TypeError):
        len(stream)
