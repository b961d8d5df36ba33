"""Progress speaks of the rest; what an earlier run did does not count as speed."""

from __future__ import annotations

import logging

import pytest

from espnet_kd.utils import progress as module
from espnet_kd.utils.progress import Progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that only moves when it is told to."""
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_the_rest_follows_from_the_speed(clock):
    with Progress("labels", 10.0, "h") as progress:
        progress.reach(4.0)  # done by an earlier run
        clock[0] += 60.0
        progress.reach(5.0)
        assert progress.line("3 segments") == (
            "labels: 5.00 h of 10.00 (50 %), about 05:00 left; 3 segments"
        )


def test_without_a_total_there_is_no_rest(clock):
    with Progress("labels", None, "h") as progress:
        progress.reach(0.0)
        clock[0] += 60.0
        progress.reach(5.0)
        assert progress.line() == "labels: 5.00 h"


def test_a_log_gets_a_line_a_minute(clock, caplog):
    caplog.set_level(logging.INFO)
    with Progress("labels", 10.0, "h") as progress:
        for done in range(1, 10):
            clock[0] += 15.0
            progress.reach(float(done))
    assert len(caplog.records) == 2


def test_a_terminal_gets_a_bar(monkeypatch, capsys):
    monkeypatch.setattr(module.sys.stderr, "isatty", lambda: True, raising=False)
    for total in (10.0, None):
        with Progress("labels", total, "h") as progress:
            progress.reach(4.0)
            progress.reach(10.0, "7 segments")
    assert "labels" in capsys.readouterr().err
