"""Running a recipe as its user does, and killing it in the middle."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

Result = subprocess.CompletedProcess[str]


def joined(words: Sequence[object], folder: Path) -> Result:
    """Run a command in ``folder``; what it says, errors among it, is the result's ``stdout``."""
    return subprocess.run(
        [str(word) for word in words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def ran(result: Result) -> str:
    """What a command said that went well."""
    assert result.returncode == 0, result.stdout[-4000:]
    return result.stdout


def killed_when(words: Sequence[object], folder: Path, is_time: Callable[[], bool]) -> None:
    """Start a command in ``folder`` and kill it and all that it started as soon as it is time."""
    with (folder / "killed.log").open("w") as log:
        process = subprocess.Popen(
            [str(word) for word in words],
            cwd=folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    while process.poll() is None and not is_time():
        time.sleep(0.01)
    assert process.poll() is None, (folder / "killed.log").read_text()[-4000:]
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
