"""mini.sh's train and derive: what is kept, what goes on, what is put aside when inputs change."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.egs.conftest import TEMPLATE

# Instead of a training: note the words, and write what the next training may start from.
PYTHON = """#!/usr/bin/env bash
echo "$@" >>said
while [ $# -gt 0 ]; do
    if [ "$1" = --output_dir ]; then mkdir -p "$2/student"; folder=$2; fi
    shift
done
echo trained >>"$folder/epochs"
"""

RECIPE = """
set -euo pipefail
stage=0 stop_stage=8 skip_stages="" expdir=exp datadir=data corpus=synthetic:x tag="" smoke={smoke}
python=./python ngpu=0 train_set=train valid_set=valid
train_cmd={template}/run_local.sh cuda_cmd={template}/run_local.sh
MAIN_ROOT={root}
. {template}/mini.sh
seed=3 seed_dir=$expdir/seed3
{what} "$@"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A recipe's folder with data and a model."""
    script = tmp_path / "python"
    script.write_text(PYTHON)
    script.chmod(0o755)
    for part in ("data/synthetic/train", "data/synthetic_smoke/train", "model"):
        (tmp_path / part).mkdir(parents=True)
        (tmp_path / part / "wav.scp").touch()
    (tmp_path / "model" / "config.json").write_text("first")
    (tmp_path / "conf.yaml").write_text("max_epoch: 1")
    return tmp_path


def call(folder: Path, what: str, *words: str, smoke: str = "false") -> str:
    """Call a function of mini.sh; returns what the recipe says."""
    script = RECIPE.format(template=TEMPLATE, root=TEMPLATE.parents[1], smoke=smoke, what=what)
    result = subprocess.run(
        ["bash", "-c", script, "run.sh", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stderr


@pytest.fixture
def train(folder: Path) -> Callable[..., str]:
    """``train(*options)`` of the run ``a``: what the recipe says."""

    def run(*options: str, smoke: str = "false") -> str:
        return call(folder, "train", "a", "conf.yaml", "false", "1", *options, smoke=smoke)

    return run


@pytest.fixture
def whisper(folder: Path) -> Path:
    """A model as Hugging Face saves it, whose configuration says nothing of its weights."""
    for name in ("generation_config.json", "model.safetensors"):
        (folder / "model" / name).write_text("first")
    return folder / "model"


def times(folder: Path, run: str = "exp/synthetic/seed3/a") -> int:
    """How often this run was trained."""
    return len((folder / run / "epochs").read_text().splitlines())


def test_words_of_the_training(folder, train):
    train("--teacher", "model")
    words = (folder / "said").read_text()
    assert "--config conf.yaml --seed 3 --ngpu 0" in words
    assert "--output_dir exp/synthetic/seed3/a" in words
    assert "--train_data_path_and_name_and_type data/synthetic/train/wav.scp,speech,sound" in words
    assert words.endswith("--teacher model\n")
    assert "num_iters_per_epoch" not in words


def test_smoke_is_short_and_has_its_own_folders(folder, train):
    train("--max_epoch", "2", smoke="true")
    words = (folder / "said").read_text()
    assert "--output_dir exp/synthetic_smoke/seed3/a" in words
    assert words.endswith("--num_iters_per_epoch 3 --batch_bins 200000 --max_epoch 2\n")


def test_what_is_done_is_kept(folder, train):
    train("--student", "model")
    assert "done already" in train("--student", "model")
    assert times(folder) == 1


def test_other_options_go_on_and_that_is_said(folder, train):
    train("--student", "model")
    said = train("--student", "model", "--max_epoch", "2")
    assert "goes on from there" in said
    assert times(folder) == 2, "in the same folder"


@pytest.mark.parametrize("finished", [True, False])
def test_a_run_of_other_models_is_put_aside(folder, train, finished):
    train("--student", "model")
    if not finished:
        (folder / "exp/synthetic/seed3/a/.done_train").unlink()
    (folder / "model" / "config.json").write_text("second")
    assert "have changed" in train("--student", "model")
    assert times(folder) == times(folder, "exp/synthetic/seed3/a.old") == 1


def test_a_run_that_stopped_goes_on(folder, train):
    train("--student", "model")
    (folder / "exp/synthetic/seed3/a/.done_train").unlink()
    train("--student", "model")
    assert times(folder) == 2
    assert not (folder / "exp/synthetic/seed3/a.old").exists()


def test_words_of_a_whispers_training(folder):
    call(folder, "train_whisper", "a", "conf.yaml", "1", "--train_dir", "x", smoke="true")
    words = (folder / "said").read_text()
    assert words.startswith("-m espnet_kd.bin.whisper_distill_train --config conf.yaml --seed 3")
    assert words.endswith("--batch_size 4 --scheduler_conf warmup_steps=1 --train_dir x\n")
    assert "data_path" not in words


@pytest.mark.parametrize("changed", ["model.safetensors", "labels.jsonl"])
def test_a_whispers_run_follows_weights_and_labels(folder, whisper, changed):
    words = ("a", "conf.yaml", "1", "--student", "model", "--train_dir", "model")
    call(folder, "train_whisper", *words)
    assert "done already" in call(folder, "train_whisper", *words)
    (whisper / changed).write_text("second")
    assert "have changed" in call(folder, "train_whisper", *words)
    assert times(folder) == times(folder, "exp/synthetic/seed3/a.old") == 1


# --- derive
# What is made looks like what other things are made of.
COPY = 'mkdir -p "$1"; cat "$2/model.safetensors" >>"$1/labels.jsonl"'


@pytest.fixture
def derive(folder: Path, whisper: Path) -> Callable[[], tuple[str, str]]:
    """``derive()`` of a folder from the model: what is said, and what is in the folder."""

    def run() -> tuple[str, str]:
        said = call(folder, "derive", "out/b", "bash", "-c", COPY, "copy", "out/b", "model")
        return said, (folder / "out/b/labels.jsonl").read_text()

    return run


def test_a_folder_is_made_once(derive):
    assert derive()[1] == "first"
    said, content = derive()
    assert "done already" in said
    assert content == "first"


def test_a_folder_of_another_model_is_made_afresh(derive, whisper):
    derive()
    (whisper / "model.safetensors").write_text("second")
    assert derive()[1] == "second"


def test_a_folder_of_an_edited_file_is_made_afresh(folder):
    for content in ("one", "two"):
        (folder / "conf.yaml").write_text(content)
        call(folder, "derive", "out/b", "bash", "-c", 'cp "$1" out/b', "copy", "conf.yaml")
        assert (folder / "out/b").read_text() == content


def test_a_folder_that_was_begun_of_another_model_is_not_taken_for_what_was_there(
    derive, folder, whisper
):
    derive()
    (whisper / "model.safetensors").write_text("second")
    killed = "kd_run() { exit 0; }; derive"
    call(folder, killed, "out/b", "bash", "-c", COPY, "copy", "out/b", "model")
    (whisper / "model.safetensors").write_text("first")
    assert derive()[1] == "first"


def test_a_folder_that_was_begun_is_gone_on_with(derive, folder):
    derive()
    (folder / "out/b.done").unlink()
    assert derive()[1] == "firstfirst"
