"""egs/mini/superb1 with a few updates on all ten tasks, and egs/superb killed and gone on with."""

from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from s3prl_upstreams.tasks import TASKS
from tests.integration.mini_recipe import MiniRecipe, random_teacher
from tests.integration.running import joined, killed_when, ran

RECIPE = MiniRecipe("superb1", ())
SUPERB = Path(__file__).resolve().parents[2] / "egs" / "superb"
NAMES = [task.config for task in TASKS]

# A group of its own: its work is done by other processes.
pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("recipes")]


@pytest.fixture(scope="module")
def model(warm_python, tmp_path_factory) -> Path:
    """The mini teacher's shape with random weights."""
    return random_teacher(warm_python, tmp_path_factory.mktemp("models") / "random")


@pytest.fixture(scope="module")
def work(warm_python, model, tmp_path_factory) -> Path:
    """Working folder of a smoke run over all tasks."""
    work = tmp_path_factory.mktemp("superb")
    result = RECIPE.run(work, warm_python, "--models", f"teacher={model}")
    assert result.returncode == 0, result.stderr[-4000:]
    return work


def test_every_task_has_a_score(work):
    folder = work / "exp/synthetic_smoke"
    scores = {name: json.loads((folder / "teacher" / name / "score.json").read_text())
              for name in NAMES}  # fmt: skip
    assert [score["task"] for score in scores.values()] == [task.name for task in TASKS]
    (row,) = json.loads((folder / "report/superb.json").read_text())["models"]
    assert row["name"] == "teacher"
    assert {name.lower() for name in row["scores"]} == set(NAMES)
    assert "## Runs of teacher" in (folder / "report/superb.md").read_text()
    assert (folder / "report/superb.html").is_file()


def test_the_leaderboards_file(work):
    with zipfile.ZipFile(work / "exp/synthetic_smoke/teacher/predict.zip") as archive:
        names = archive.namelist()
    for part in ("pr_public/predict.ark", "er_fold5_public/predict.txt", "sv_public/predict.txt"):
        assert f"predict/{part}" in names


def superb(work: Path, python: Path, model: Path, *options: object) -> list[object]:
    words = [SUPERB / "run.sh", "--python", python, "--upstream", "kd_student", "--ckpt", model]
    words += ["--data", work / "data/synthetic_smoke", "--ngpu", "0", "--nj", "1"]
    words += ["--superb_conf", SUPERB.parent / "mini/conf", "--expdir", work / "full"]
    return [*words, "--allow_missing", "true", *options]


def test_killed_in_the_middle_it_goes_on(work, warm_python, model):
    tasks = ("--tasks", "sid ic")
    updates = "-o config.runner.total_steps=30,,config.runner.save_step=1"
    options = (*tasks, "--superb_args", updates)
    states = work / "full/random/sid"
    killed_when(
        superb(work, warm_python, model, *options), work, lambda: any(states.glob("states-*.ckpt"))
    )
    said = ran(joined(superb(work, warm_python, model, *options), work))
    assert "SID: ready" in said
    assert "[Runner] - Resume from" in (states / "run.log").read_text()
    assert {path.parent.name for path in (work / "full/random").rglob("score.json")} == {
        "sid",
        "ic",
    }
    assert "| random |" in said
    with zipfile.ZipFile(work / "full/random/predict.zip") as archive:
        assert len(archive.namelist()) == 2

    again = ran(joined(superb(work, warm_python, model, *options, "--stage", "3"), work))
    assert "2 of 2 jobs are done already" in again


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--ckpt", "/nowhere"), "--ckpt /nowhere: no such file or folder"),
        (("--stage", "9"), "this recipe has the stages 0 to 7"),
        (("--stage", "1", "--stop_stage", "1"), "get it: IEMOCAP"),
        (("--stage", "7"), "run_downstream -m evaluate"),
    ],
)
def test_wrong_options(work, warm_python, model, tmp_path, options, message):
    for folder in (work / "data/synthetic_smoke").iterdir():
        if folder.name != "IEMOCAP" and folder.is_dir():
            (tmp_path / folder.name).symlink_to(folder)
    words = superb(work, warm_python, model, "--data", tmp_path, "--check_audio", "false", *options)
    result = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, check=False
    )
    assert result.returncode != 0
    assert message in result.stderr


def test_models_that_are_not_there(warm_python, tmp_path):
    result = RECIPE.run(tmp_path, warm_python, "--models", "mine=/nowhere")
    assert "mine: /nowhere is no folder with config.json" in result.stderr
    shutil.rmtree(tmp_path, ignore_errors=True)
