"""egs/mini/mvq1 from stage 0 to 7 with a few updates, stopped once while it extracts codes.

Its commands run in forks of one process that has the toolkits.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from espnet_kd.data.codes import check_codes
from espnet_kd.evaluation.runs import load_runs
from tests.integration.mini_recipe import MiniRecipe, random_teacher

RECIPE = MiniRecipe("mvq1", ("--num_codebooks", "2"))
SYSTEMS = {"mvq", "no_codes"}

# A group of its own: its work is done by other processes.
pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("recipes")]


@pytest.fixture(scope="module")
def teacher(warm_python, tmp_path_factory) -> Path:
    """The mini teacher's shape with random weights."""
    return random_teacher(warm_python, tmp_path_factory.mktemp("models") / "seed0")


@pytest.fixture(scope="module")
def stopped(warm_python, teacher, tmp_path_factory) -> Path:
    """Working folder of a run that was stopped while codes were extracted."""
    work = tmp_path_factory.mktemp("mini")
    log = work / "exp/synthetic_smoke/seed0/log/codes/train-clean-100.log"
    said = RECIPE.stop_at(log, work, warm_python, "--teacher", teacher.with_name("seedSEED"))
    assert "stage 2 failed; mend it and go on with ./run.sh --stage 2" in said
    return work


@pytest.fixture(scope="module")
def work(stopped, warm_python, teacher) -> Path:
    """The same after it went on to the end."""
    result = RECIPE.run(stopped, warm_python, "--teacher", teacher, "--stage", "2")
    assert result.returncode == 0, result.stderr[-4000:]
    assert "ASR WER: mvq" in result.stdout
    return stopped


@pytest.fixture(scope="module")
def seed_dir(work) -> Path:
    return work / "exp/synthetic_smoke/seed0"


def test_codes_fit_the_speech(work, seed_dir):
    info = check_codes(
        seed_dir / "codes/train-clean-100/codes.scp",
        work / "data/synthetic_smoke/train-clean-100",
        num_codebooks=2,
        codebook_size=256,
        values=True,
    )
    assert info.utterances > 0


def test_both_have_a_score_and_the_same_size(work, seed_dir):
    runs = {run.name: run for run in load_runs(sorted((seed_dir / "results").glob("*.json")))}
    assert set(runs) == SYSTEMS
    sizes = {run.profile["parameters"]["total"] for run in runs.values()}
    assert len(sizes) == 1, "the head of the codes is not part of the model"
    assert all([score.task for score in run.scores] == ["ASR"] for run in runs.values())
    table = (work / "exp/synthetic_smoke/report/RESULTS.md").read_text(encoding="utf-8")
    assert all(f"| {name} |" in table for name in SYSTEMS)
    assert str(work) not in table


def test_the_pack_is_espnets(seed_dir):
    with zipfile.ZipFile(seed_dir / "packed/mvq.zip") as archive:
        assert "meta.yaml" in archive.namelist()


def test_nothing_finished_is_repeated(work, seed_dir, warm_python, teacher):
    kept = [*seed_dir.glob("*/checkpoint.pth"), *seed_dir.rglob("codes.scp")]
    kept += [*seed_dir.rglob("1best_recog/text"), seed_dir / "quantizer/config.json"]
    before = {path: path.stat().st_mtime_ns for path in kept}
    assert len(kept) == 2 + 2 + 2 + 1
    result = RECIPE.run(
        work, warm_python, "--teacher", teacher, "--stage", "2", "--stop_stage", "5"
    )
    assert result.returncode == 0, result.stderr[-4000:]
    assert {path: path.stat().st_mtime_ns for path in kept} == before


def test_runs_tell_where_they_come_from(seed_dir):
    values = json.loads((seed_dir / "results" / "mvq.json").read_text())
    assert values["command"].startswith("egs/mini/mvq1/run.sh --corpus synthetic")
    assert values["role"] == "student"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--stage", "3"), "(the codes of seed 0), which stage 2 makes"),
        (("--stage", "5"), "(the transducer mvq of seed 0), which stage 3 makes"),
        (("--stage", "2", "--teacher", "nowhere"), "nowhere is no folder with config.json"),
        (("--stage", "8", "--stop_stage", "8"), "stage 8 needs --hf_repo"),
        (("--corpus", "digits:/nowhere"), "no such file or folder /nowhere"),
    ],
)
def test_wrong_options(warm_python, tmp_path, options, message):
    for part in ("train-clean-360", "train-clean-100"):
        folder = tmp_path / "data/synthetic_smoke" / part
        folder.mkdir(parents=True)
        for name in ("wav.scp", "text"):
            (folder / name).touch()
    result = RECIPE.run(tmp_path, warm_python, *options)
    assert result.returncode in (1, 2)
    assert message in result.stderr
