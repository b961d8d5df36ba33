"""egs/mini/dphubert1 from stage 0 to 7 with a few updates, stopped once in the middle.

Its commands run in forks of one process that has the toolkits; test_recipe_mini.py shows the same
scripts with an interpreter of their own each.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
import torch

from espnet_kd import load_model
from espnet_kd.encoder import SpeechEncoder
from espnet_kd.evaluation.runs import load_runs
from tests.integration.mini_recipe import MiniRecipe, random_teacher

RECIPE = MiniRecipe("dphubert1", ("--targets", "0.5", "--tasks", "sid"))
SYSTEMS = (
    *("teacher", "phase1_sp0.5", "phase2_sp0.5", "same_size_sp0.5", "reuse", "reuse_pruned"),
)
PRUNED = ("phase1_sp0.5", "phase2_sp0.5", "same_size_sp0.5")

# A group of its own: its work is done by other processes.
pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("recipes")]


@pytest.fixture(scope="module")
def teacher(warm_python, tmp_path_factory) -> Path:
    """The mini teacher's shape with random weights."""
    return random_teacher(warm_python, tmp_path_factory.mktemp("models") / "seed0")


@pytest.fixture(scope="module")
def stopped(warm_python, teacher, tmp_path_factory) -> Path:
    """Working folder of a run that was stopped in phase 1."""
    work = tmp_path_factory.mktemp("mini")
    log = work / "exp/synthetic_smoke/seed0/log/train_phase1_sp0.5.log"
    said = RECIPE.stop_at(log, work, warm_python, "--teacher", teacher.with_name("seedSEED"))
    assert "stage 3 failed; mend it and go on with ./run.sh --stage 3" in said
    assert not list(work.glob("exp/*/seed0/*/.done_train"))
    return work


@pytest.fixture(scope="module")
def work(stopped, warm_python, teacher) -> Path:
    """The same after it went on to the end."""
    result = RECIPE.run(stopped, warm_python, "--teacher", teacher, "--stage", "3")
    assert result.returncode == 0, result.stderr[-4000:]
    # A few updates do not close the gates; the cut is of the size asked for all the same.
    assert result.stdout.count("points off, within 1%") == 2
    return stopped


@pytest.fixture(scope="module")
def seed_dir(work) -> Path:
    return work / "exp/synthetic_smoke/seed0"


def models(seed_dir: Path, *names: str) -> list[SpeechEncoder]:
    return [load_model(str(seed_dir / "models" / name)) for name in names]


def size(model: SpeechEncoder) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_every_system_has_scores_and_costs(seed_dir):
    runs = {run.name: run for run in load_runs(sorted((seed_dir / "results").glob("*.json")))}
    assert set(runs) == set(SYSTEMS)
    for one in runs.values():
        assert [score.task for score in one.scores] == ["SID"]
        assert {"parameters", "macs", "time"} <= set(one.profile)
    for name in ("phase1_sp0.5", "reuse_pruned"):
        pruning = runs[name].pruning
        assert pruning["target"] == 0.5
        assert pruning["off_target"] == pytest.approx(abs(pruning["reached"] - 0.5))
        assert pruning["off_target"] < 0.01


def test_report(work):
    report = work / "exp/synthetic_smoke/report"
    table = (report / "RESULTS.md").read_text(encoding="utf-8")
    assert all(f"| {name} |" in table for name in SYSTEMS)
    assert "Removed (%) | Off target (%) |" in table
    assert str(work) not in table
    page = (report / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64") == 4, "trade-off, curves, two prunings"
    assert "What was removed: phase1_sp0.5" in page


def test_pruned_students_are_smaller_and_share_a_shape(seed_dir):
    teacher, *students = models(seed_dir, "teacher", *PRUNED)
    assert size(students[0]) < 0.95 * size(teacher)
    assert students[0].config == students[1].config == students[2].config


def test_only_phase_2_starts_from_phase_1(seed_dir):
    first, second, other = (model.state_dict() for model in models(seed_dir, *PRUNED))
    name = "layers.0.feed_forward.output.weight"
    near, far = (torch.dist(first[name], state[name]) for state in (second, other))
    assert 0 < near < 0.2 * far
    assert (seed_dir / "pruned_sp0.5" / "distill_projections.safetensors").is_file()


def test_combination_prunes_a_student_that_reuses_attention(seed_dir):
    whole, pruned = models(seed_dir, "reuse", "reuse_pruned")
    assert size(pruned) < 0.95 * size(whole)
    layers = pruned.config.layers
    assert [layer.attention for layer in layers] == ["full", "reused"] * 3
    assert [layer.num_heads for layer in layers[::2]] == [layer.num_heads for layer in layers[1::2]]


def test_pack(seed_dir, tmp_path):
    with zipfile.ZipFile(seed_dir / "student_sp0.5.zip") as archive:
        assert "RESULTS.md" in archive.namelist()
        for name in ("config.json", "model.safetensors"):
            archive.extract(name, tmp_path)
    assert load_model(str(tmp_path)).config == models(seed_dir, "phase2_sp0.5")[0].config


def test_nothing_finished_is_repeated(work, seed_dir, warm_python, teacher):
    kept = [*seed_dir.rglob("score.json"), *seed_dir.glob("*/checkpoint.pth")]
    kept += [*seed_dir.glob("pruned_*/pruning.json"), *seed_dir.glob("random_*/config.json")]
    before = {path: path.stat().st_mtime_ns for path in kept}
    assert len(kept) == 6 + 5 + 2 + 1
    result = RECIPE.run(
        work, warm_python, "--teacher", teacher, "--stage", "3", "--stop_stage", "5"
    )
    assert result.returncode == 0, result.stderr[-4000:]
    assert {path: path.stat().st_mtime_ns for path in kept} == before


def test_a_missing_input_names_its_stage(warm_python, tmp_path):
    result = RECIPE.run(tmp_path, warm_python, "--stage", "3")
    assert result.returncode == 1
    assert "(the teacher of seed 0), which stage 2 makes" in result.stderr
    result = RECIPE.run(tmp_path, warm_python, "--stage", "7")
    assert "report/RESULTS.md, which stage 6 makes" in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--targets", "0.5 75"), "75 is no share between 0 and 1"),
        (("--targets", "0.5 0.5"), "names one twice"),
        (("--targets", ""), "--targets is empty"),
        (("--combine_target", "1"), "1 is no share between 0 and 1"),
        (("--combine", "yes"), "--combine is true or false"),
        (("--stage", "2", "--teacher", "nowhere"), "nowhere is no folder with config.json"),
        (("--stage", "8", "--stop_stage", "8"), "stage 8 needs --hf_repo"),
        (("--corpus", "digits:/nowhere"), "no such file or folder /nowhere"),
    ],
)
def test_wrong_options(warm_python, tmp_path, options, message):
    (tmp_path / "data/synthetic_smoke/train-clean-360").mkdir(parents=True)
    (tmp_path / "data/synthetic_smoke/train-clean-360/wav.scp").touch()
    result = RECIPE.run(tmp_path, warm_python, *options)
    assert result.returncode in (1, 2)
    assert message in result.stderr


def test_runs_tell_where_they_come_from(seed_dir):
    values = json.loads((seed_dir / "results" / "phase2_sp0.5.json").read_text())
    assert values["command"].startswith("egs/mini/dphubert1/run.sh --corpus synthetic")
