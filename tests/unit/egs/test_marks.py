"""is_done and mark_done: a step is repeated when its command changed, and only then."""

from __future__ import annotations

import subprocess

import pytest

from tests.unit.egs.conftest import TEMPLATE

SCRIPT = """
set -euo pipefail
stage=0 stop_stage=0 skip_stages=""
. {template}/stages.sh
step() {{
    if is_done work/.done "$@"; then return; fi
    echo ran "$@"
    mark_done work/.done "$@"
}}
step "$@"
"""


@pytest.fixture
def step(tmp_path):
    def run(*words: str) -> str:
        script = SCRIPT.format(template=TEMPLATE)
        result = subprocess.run(
            ["bash", "-c", script, "run.sh", *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        return result.stdout

    return run


def test_same_command_runs_once(step):
    assert step("train", "--lr 1") == "ran train --lr 1\n"
    assert step("train", "--lr 1") == ""


@pytest.mark.parametrize("words", [("train", "--lr 2"), ("train", "--lr", "1"), ("train",)])
def test_another_command_runs(step, words):
    step("train", "--lr 1")
    assert step(*words).startswith("ran train")
