"""egs/TEMPLATE/distil_whisper.sh: a folder is made once, of these models and these data."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.unit.egs.conftest import TEMPLATE

HEAD = """#!/usr/bin/env bash
set -euo pipefail
stage=0 stop_stage=8 skip_stages="" ngpu=0 hosts="" num_nodes=1 python=python3 exp=exp
teacher=$PWD/whisper-small.en language=en cuda_cmd=run
run() { shift 3; "$@"; }
cd recipe
. ../../TEMPLATE/stages.sh
. ../../TEMPLATE/distil_whisper.sh
"""


@pytest.fixture
def shell(tmp_path):
    """Return ``shell(code)``: what shell code that uses the file says, errors joined."""
    (tmp_path / "corpus" / "recipe").mkdir(parents=True)
    (tmp_path / "TEMPLATE").symlink_to(TEMPLATE)
    place = tmp_path / "corpus"

    def run(code: str) -> str:
        (place / "run.sh").write_text(HEAD + code)
        result = subprocess.run(
            ["bash", str(place / "run.sh")],
            cwd=place,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stdout
        return result.stdout

    run.place = place / "recipe"
    return run


MAKE = 'make() { mkdir -p exp/out; echo "$*" >>exp/out/calls; }\n'


def calls(place: Path) -> list[str]:
    return (place / "exp" / "out" / "calls").read_text().splitlines()


def test_the_same_is_made_once(shell):
    code = MAKE + "for i in 1 2; do derive exp/out make a 'b c' exp/out; done"
    assert "done already" in shell(code)
    assert calls(shell.place) == ["a b c exp/out"]


def test_words_for_the_machine_change_nothing(shell):
    code = MAKE + "machine=(--ngpu 1); derive exp/out make a; machine=(--ngpu 2)\n"
    assert "done already" in shell(code + "derive exp/out make a")
    assert calls(shell.place) == ["a --ngpu 1"]


def test_other_options_or_other_labels_put_it_aside(shell):
    labels = "mkdir -p labels; echo 1 >labels/labels.jsonl; "
    code = MAKE + labels + "derive exp/out make labels; echo 2 >>labels/labels.jsonl\n"
    said = shell(code + "derive exp/out make labels; derive exp/out make other")
    assert said.count("exp/out.old now") == 2
    assert calls(shell.place) == ["other"]


def test_what_was_stopped_goes_on(shell):
    code = MAKE + "derive exp/out make a; rm exp/out.done; derive exp/out make a"
    assert "old" not in shell(code)
    assert calls(shell.place) == ["a", "a"]


def test_weights_that_were_written_again_are_others(shell):
    code = "mkdir m; touch -d 2020-01-01 m/model.safetensors; a=$(stamps m); "
    code += 'touch m/model.safetensors; [ "$a" != "$(stamps m)" ] && [ -n "$a" ] && echo other'
    assert shell(code) == "other\n"


def test_english_only_teachers_are_told_no_language(shell):
    code = 'locate_teacher; echo "[${spoken[*]}] $teacher_name $teacher_dir"\n'
    code += 'teacher=openai/whisper-small; locate_teacher; echo "[${spoken[*]}] $teacher_dir"'
    assert shell(code).splitlines() == [
        "[] whisper-small.en downloads/teachers/whisper-small.en",
        "[--language en] downloads/teachers/whisper-small",
    ]
