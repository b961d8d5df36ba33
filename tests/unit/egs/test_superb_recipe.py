"""egs/superb/run.sh with a stand-in for Python, which notes what it is to run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SUPERB = Path(__file__).resolve().parents[3] / "egs" / "superb"
PYTHON = f"""#!/usr/bin/env bash
if [ "$2" = s3prl_upstreams.run_downstream ]; then
    echo "$@" >>"$CALLS"
    echo decoded >"$DECODED/test-clean-LM-hyp.ark"
elif [[ $2 != *find_spec* ]]; then
    exec {sys.executable} "$@"
fi
"""


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """Return ``run(*options)`` of the recipe, with data, a model and an experiment in tmp_path."""
    python = tmp_path / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    for name in ("data", "lm", "exp/mine/asr/lr_1e-3", "exp/mine/asr_lm"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    monkeypatch.setenv("DECODED", str(tmp_path / "exp/mine/asr_lm"))

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        words = ["--python", python, "--expdir", tmp_path / "exp", "--data", tmp_path / "data"]
        words += ["--name", "mine", "--ngpu", "0", *options]
        command = [str(word) for word in (SUPERB / "run.sh", *words)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return run


def test_a_folder_of_configurations_and_a_variant_exclude_each_other(recipe, tmp_path):
    result = recipe("--superb_conf", str(tmp_path), "--superb_variant", "armhubert")
    assert result.returncode == 1
    assert "run.sh: --superb_conf and --superb_variant: choose one" in result.stderr


def test_decoding_with_a_language_model(recipe, tmp_path):
    """Of the best learning rate's checkpoint, and once."""
    calls = tmp_path / "calls"
    options = ("--lm", str(tmp_path / "lm"), "--stage", "5", "--stop_stage", "5")
    result = recipe(*options)
    assert result.returncode == 1
    assert "asr/score.json (the score of ASR), which stage 3 makes" in result.stderr

    best = tmp_path / "exp/mine/asr/lr_1e-3/dev-clean-best.ckpt"
    best.touch()
    os.utime(best, (10**9, 10**9))
    (tmp_path / "exp/mine/asr/score.json").write_text(json.dumps({"checkpoint": str(best)}))
    for attempt in (1, 2):
        result = recipe(*options, "--ngpu", str(attempt - 1))  # another device, the same result
        assert result.returncode == 0, result.stderr
        assert f"-e {best} " in calls.read_text()
        assert len(calls.read_text().splitlines()) == 1
        assert (tmp_path / "exp/mine/asr/test-clean-LM-hyp.ark").is_file()
    assert "done already with the same options" in result.stderr

    os.utime(best, (2**31, 2**31))  # trained again
    assert recipe(*options).returncode == 0
    assert len(calls.read_text().splitlines()) == 2
