"""How commands end."""

from __future__ import annotations

import os
import signal

import pytest

from espnet_kd.bin.run import run_command
from espnet_kd.bin.spawned import plain_message
from espnet_kd.errors import AudioError, KDError


def fail() -> None:
    raise KDError("what is wrong; what to do")


def test_success_and_known_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(lambda: None) == 0
    assert run_command(fail) == 1
    assert capsys.readouterr().err == "error: what is wrong; what to do\n"


def test_unknown_errors_keep_their_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run_command(lambda: 1 / 0)


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")],
)
def test_signals(
    capsys: pytest.CaptureFixture[str], number: signal.Signals, code: int, word: str
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert run_command(lambda: os.kill(os.getpid(), number), resumable=True) == code
    text = capsys.readouterr().err
    assert word in text
    assert "start the same command again" in text
    assert signal.getsignal(signal.SIGTERM) is before
    assert run_command(lambda: os.kill(os.getpid(), number)) == code
    assert "again" not in capsys.readouterr().err


def test_message_of_a_loader_process_is_unwrapped() -> None:
    wrapped = (
        "Caught AudioError in DataLoader worker process 0.\nOriginal Traceback (most recent call "
        "last):\n"
        '  File "x.py", line 1\nespnet_kd.errors.AudioError: utterance u: bad\n'
    )
    assert plain_message(AudioError(wrapped)) == "utterance u: bad"
    assert plain_message(AudioError("utterance u: bad")) == "utterance u: bad"
