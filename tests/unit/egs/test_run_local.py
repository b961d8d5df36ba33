"""The local runner honours the interface CMD [--gpu N] [JOB=1:N] LOG COMMAND."""

from __future__ import annotations

import os
import shutil
import subprocess
import time

import pytest

from tests.unit.egs.conftest import TEMPLATE


@pytest.fixture
def run(tmp_path):
    def start(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(TEMPLATE / "run_local.sh"), *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **environment},
        )

    return start


def test_log_holds_command_output_and_code(run, tmp_path):
    result = run("--gpu", "0", "--mem", "4G", "log/x.log", "echo", "two words", "it's")
    assert result.returncode == 0
    lines = (tmp_path / "log/x.log").read_text().splitlines()
    assert lines[0] == "# echo two\\ words it\\'s"
    assert "two words it's" in lines
    assert lines[-1].startswith("# ended (code 0)")


def test_job_array(run, tmp_path):
    result = run("JOB=1:3", "log/x.JOB.log", "sh", "-c", "echo part JOB of 3")
    assert result.returncode == 0
    for job in (1, 2, 3):
        assert f"part {job} of 3" in (tmp_path / f"log/x.{job}.log").read_text()


def test_a_failure_is_reported_with_the_end_of_its_log(run):
    result = run("JOB=1:3", "x.JOB.log", "sh", "-c", "echo reason JOB; [ JOB != 2 ]")
    assert result.returncode != 0
    assert "the end of x.2.log" in result.stderr
    assert "reason 2" in result.stderr
    assert "reason 1" not in result.stderr


@pytest.mark.parametrize("watch", ["", "show"])
def test_code_is_kept_with_and_without_watching(run, tmp_path, watch):
    result = run("x.log", "sh", "-c", "echo show me; echo hide; exit 7", watch=watch)
    assert result.returncode == 7
    assert ("show me" in result.stderr.splitlines()) == bool(watch)
    assert "# ended (code 7)" in (tmp_path / "x.log").read_text()


def test_threads_reach_the_command(run, tmp_path):
    run("--num_threads", "3", "x.log", "sh", "-c", "echo threads $OMP_NUM_THREADS")
    assert "threads 3" in (tmp_path / "x.log").read_text()


def test_usage(run):
    assert run("only.log").returncode == 2


def test_every_job_runs_and_failures_are_counted(run, tmp_path):
    result = run(
        "--max-jobs-run", "2", "N=2:5", "N.log", "sh", "-c", "touch ran.N; exit $((N % 2))"
    )
    assert result.returncode == 1
    assert "2 of 4 jobs failed: 3 5" in result.stderr
    assert sorted(path.name for path in tmp_path.glob("ran.*")) == [f"ran.{n}" for n in range(2, 6)]


def test_no_more_jobs_at_a_time_than_asked(run, tmp_path):
    count = "touch on.JOB; ls on.* | wc -l >most.JOB; sleep 0.1; rm on.JOB"
    assert run("--max-jobs-run", "2", "JOB=1:6", "JOB.log", "sh", "-c", count).returncode == 0
    most = [int(path.read_text()) for path in tmp_path.glob("most.*")]
    assert len(most) == 6
    assert max(most) <= 2


@pytest.mark.parametrize("words", [("JOB=3:1",), ("JOB=1:x",), ("--num_threads", "many")])
def test_wrong_numbers(run, words):
    result = run(*words, "x.log", "true")
    assert result.returncode == 2
    assert "[JOB=1:N] LOG COMMAND..." in result.stderr


@pytest.mark.parametrize("watch", ["", "ready"])
def test_a_signal_reaches_the_command_and_its_end_is_awaited(tmp_path, watch):
    script = "trap 'echo saved; exit 143' TERM; echo ready; while :; do sleep 0.02; done"
    process = subprocess.Popen(
        [str(TEMPLATE / "run_local.sh"), "x.log", "bash", "-c", script],
        cwd=tmp_path,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "watch": watch},
    )
    log = tmp_path / "x.log"
    while not log.exists() or "ready\n" not in log.read_text():
        assert process.poll() is None
        time.sleep(0.01)
    process.terminate()
    assert process.wait() == 143
    assert log.read_text().splitlines()[-2] == "saved"
    assert log.read_text().splitlines()[-1].startswith("# ended (code 143)")


@pytest.mark.parametrize("change", ["", "echo changed >&2; touch changed; exit 9\n" * 400])
def test_a_run_survives_a_change_of_the_script(tmp_path, change):
    """bash reads a script while it runs it; this one is changed in place meanwhile."""
    script = tmp_path / "run_local.sh"
    shutil.copy(TEMPLATE / "run_local.sh", script)
    (tmp_path / "new").write_text(change)
    command = [str(script), "JOB=1:2", "JOB.log", "sh", "-c", f"cat new >{script}; exit $((JOB-1))"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert script.read_text() == change
    assert result.returncode == 1, result.stderr
    assert "1 of 2 jobs failed: 2" in result.stderr
    assert not (tmp_path / "changed").exists()
