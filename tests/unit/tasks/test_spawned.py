"""Errors of spawned processes, as ESPnet starts them: one per GPU, watched by torch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

# ESPnet's loop with another worker: process 1 does what the test asks for, process 0 waits.
SCRIPT = """
import multiprocessing, pathlib, sys, time
from espnet_kd.bin.run import run_command
from espnet_kd.bin.spawned import report_to_parent
from espnet_kd.errors import KDError

report_to_parent(__name__)

def worker(rank):
    pathlib.Path(f"started{rank}").touch()
    if rank == 0 or "wait" in sys.argv:
        time.sleep(600)
    if "ours" in sys.argv:
        raise KDError("what is wrong; what to do")
    raise ZeroDivisionError("not ours")

def main():
    from torch.multiprocessing.spawn import ProcessContext

    mp = multiprocessing.get_context("spawn")
    processes = [mp.Process(target=worker, args=(rank,), daemon=False) for rank in range(2)]
    for process in processes:
        process.start()
    while not ProcessContext(processes, ["no file"] * 2).join():
        pass

if __name__ == "__main__":
    sys.exit(run_command(main, resumable=True))
"""


@pytest.fixture
def start(tmp_path: Path):
    (tmp_path / "train.py").write_text(SCRIPT)
    running = []

    def begin(what: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "train.py", what]
        options = {"cwd": tmp_path, "env": environment, "start_new_session": True}
        running.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **options))
        return running[-1]

    yield begin
    for process in running:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def test_an_error_of_ours_is_one_sentence(start) -> None:
    process = start("ours")
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "error: what is wrong; what to do\n" in said
    assert said.count("what is wrong") == 1
    assert "Traceback" not in said


def test_other_errors_keep_the_processes_own_traceback(start) -> None:
    process = start("other")
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert said.count("Traceback") == 1
    assert "ZeroDivisionError: not ours" in said
    assert "error: process 1 ended with exit code 1; what it said itself is above" in said


def test_a_killed_process_is_named(start, tmp_path: Path) -> None:
    process = start("wait")
    children = wait_for_children(process, tmp_path)
    os.kill(children[1], signal.SIGKILL)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "ended with signal SIGKILL; the system's log may say why" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_to_the_command_ends_all(start, tmp_path: Path, number: int, code: int) -> None:
    process = start("wait")
    children = wait_for_children(process, tmp_path)
    os.kill(process.pid, number)
    _, said = process.communicate(timeout=120)
    assert process.returncode == code
    assert "start the same command again" in said
    assert "Traceback" not in said
    assert not any(Path(f"/proc/{child}").exists() for child in children)


def wait_for_children(process: subprocess.Popen[str], folder: Path) -> list[int]:
    """Ids of the two workers, once both run."""
    while not all((folder / f"started{rank}").exists() for rank in range(2)):
        assert process.poll() is None
        time.sleep(0.05)
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    spawned = [
        int(child)
        for child in listed
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]
    assert len(spawned) == 2
    return spawned
