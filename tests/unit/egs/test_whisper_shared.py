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
    assert "exp/out.old now" in said
    assert "exp/out.old2 now" in said
    assert calls(shell.place) == ["other"]
    assert (shell.place / "exp" / "out.old" / "calls").read_text() == "labels\n"


def test_a_file_that_was_edited_is_another(shell):
    code = (
        MAKE + "echo a >texts; derive exp/out make texts; echo b >texts; derive exp/out make texts"
    )
    assert "exp/out.old now" in shell(code)


def test_what_others_left_behind_is_not_taken_for_what_was_there_before(shell):
    killed = (
        "(attended() { mkdir exp/out; echo half >exp/out/calls; exit 1; }; derive exp/out make b)"
    )
    assert "done already" not in shell(
        f"{MAKE}derive exp/out make a; {killed} || true; derive exp/out make a"
    )
    assert calls(shell.place) == ["a"]


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


GPUS = """
cat >py <<'EOF'
#!/bin/sh
case "$1" in *update_plan.py) echo 16 2 2000 ;; esac
EOF
chmod +x py
python=$PWD/py ngpu=2 seed=0 num_workers=1 utterances_per_update=0 per_gpu=8 max_seconds=30
label_batch=64 eval_batch=16 label_args="" train_args="" eval_args=""
data=data teacher=$PWD/large
split_words() { read -ra "$1" <<<"$2"; }
mkdir -p data/train && touch data/train/wav.scp c.yaml
run() { shift 3; echo "$@"; }
locate_teacher
"""


def _spoken(said: str) -> list[str]:
    """The commands of the package, in order."""
    return [line for line in said.splitlines() if "-m espnet_kd.bin." in line]


STEPS = "label train; evaluate exp/e --models m; train_student c.yaml exp/t start --valid_dir v"


def test_words_for_gpus(shell):
    label, evaluation, training = _spoken(shell(GPUS + STEPS))
    assert label.endswith("--per_device_eval_batch_size 64 --ngpu 2")
    assert "--dtype bfloat16" in label
    assert "--device cuda --dtype bfloat16" in evaluation
    assert training.endswith("--ngpu 2 --multiprocessing_distributed true")
    assert "--batch_size 16 --accum_grad 2" in training
    assert "--num_iters_per_epoch 2000" in training
    assert "--use_amp" not in training


def test_a_training_with_an_edited_experiment_file_goes_on(shell):
    train = "train_student c.yaml exp/t start --valid_dir v\n"
    said = shell(f"{GPUS}{train}{train}echo max_epoch: 9 >c.yaml\n{train}")
    assert said.count("done already") == 1
    assert len(_spoken(said)) == 2


def test_words_for_a_cpu(shell):
    label, evaluation, training = _spoken(shell(f"{GPUS}ngpu=0; {STEPS}"))
    assert "--dtype float32" in label
    assert "--device cpu" in evaluation
    assert "--use_amp false" in training
    assert training.endswith("--ngpu 0 --multiprocessing_distributed false")
