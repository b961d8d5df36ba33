"""Two processes end together: when the first one cannot start, and when one fails later."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from children import Outcome

from espnet_kd.tasks.lock import output_dir_lock

pytestmark = pytest.mark.integration

Together = Callable[..., list[Outcome]]


@pytest.fixture(autouse=True)
def _no_waiting() -> object:
    """The process group's own limit is half an hour."""

    def late(_number: int, _frame: object) -> None:
        raise AssertionError("a process still waits for the other one")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, 120)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def assert_all_say(outcomes: list[Outcome], part: str) -> None:
    for outcome in outcomes:
        assert outcome.code == 1, outcome.output
        assert "Traceback" not in outcome.output
        assert part in outcome.output.rpartition("error: ")[2]


def test_another_run_is_in_the_folder(together: Together, tmp_path: Path) -> None:
    with output_dir_lock(tmp_path / "exp"):
        outcomes = together(tmp_path / "exp")
    assert_all_say(outcomes, "another run is writing to")
    assert "cannot start and will tell the others" in outcomes[0].output
    assert not (tmp_path / "exp" / "config.yaml").exists()
    assert [outcome.code for outcome in together(tmp_path / "exp", "--max_epoch", 1)] == [0, 0]


def test_no_teacher(together: Together, tmp_path: Path) -> None:
    outcomes = together(tmp_path / "exp", "--teacher", tmp_path / "gone")
    assert_all_say(outcomes, "gone: no such file or folder")


def test_a_teacher_that_does_not_fit(together: Together, tmp_path: Path) -> None:
    """All processes find this themselves."""
    outcomes = together(tmp_path / "exp", "--kd_conf", "teacher_layers=[0]")
    assert_all_say(outcomes, "teacher_layers lists 1 layers")


def test_one_process_fails_in_training(
    together: Together, bad_corpus: Path, tmp_path: Path
) -> None:
    """The recording is only looked into by the process whose batch it is in."""
    recording = next((bad_corpus / "train").rglob("*.wav"))
    samples, rate = soundfile.read(recording, dtype="float32")
    samples[100] = np.nan
    soundfile.write(recording, samples, rate, subtype="FLOAT")
    outcomes = together(tmp_path / "exp", data=bad_corpus)
    said = []
    for outcome in outcomes:
        assert outcome.code == 1, outcome.output
        assert "Traceback" not in outcome.output
        said.append(outcome.output.rpartition("error: ")[2])
    assert sum("NaN" in text and recording.stem in text for text in said) == 1, said
    assert sum("another process of this run has ended" in text for text in said) == 1, said
