"""egs/mini/armhubert1 from stage 0 to 7 with a few updates: the demo's own path, end to end."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from espnet_kd import load_model
from espnet_kd.evaluation.runs import load_runs

RECIPE = Path(__file__).resolve().parents[2] / "egs" / "mini" / "armhubert1"
SYSTEMS = ("teacher", "student", "no_teacher", "untrained")

pytestmark = pytest.mark.integration


def run(work: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [RECIPE / "run.sh", "--smoke", "true", "--python", sys.executable]
    command += ["--datadir", work / "data", "--expdir", work / "exp", "--nj", "2"]
    return subprocess.run(
        [*map(str, command), *options], capture_output=True, text=True, check=False, timeout=900
    )


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("mini")
    result = run(folder)
    assert result.returncode == 0, result.stderr[-4000:]
    return folder


@pytest.fixture(scope="module")
def seed_dir(work) -> Path:
    return work / "exp/synthetic_smoke/seed0"


def test_every_system_has_a_score_of_every_task(seed_dir):
    runs = load_runs(sorted((seed_dir / "results").glob("*.json")))
    assert {run.name for run in runs} == set(SYSTEMS)
    for run in runs:
        assert [score.task for score in run.scores] == ["ASR", "SID"]
        assert run.profile["parameters"]["total"] > 0


def test_report(work):
    report = work / "exp/synthetic_smoke/report"
    page = (report / "report.html").read_text(encoding="utf-8")
    assert "data:image/png;base64" in page
    table = (report / "RESULTS.md").read_text(encoding="utf-8")
    assert all(f"| {name} |" in table for name in SYSTEMS)
    assert str(work) not in table


def test_student_reuses_attention_and_is_smaller(seed_dir):
    teacher, student = (load_model(str(seed_dir / "models" / n)) for n in ("teacher", "student"))
    assert [layer.attention for layer in student.config.layers] == ["full", "reused"] * 3
    sizes = [sum(p.numel() for p in model.parameters()) for model in (teacher, student)]
    assert sizes[1] < 0.4 * sizes[0]


def test_baselines_have_the_students_architecture(seed_dir):
    configs = [
        json.loads((seed_dir / "models" / name / "config.json").read_text())["encoder"]
        for name in ("student", "no_teacher", "untrained")
    ]
    assert configs[0] == configs[1] == configs[2]


def test_pack(seed_dir, tmp_path):
    with zipfile.ZipFile(seed_dir / "student.zip") as archive:
        assert "RESULTS.md" in archive.namelist()
        for name in ("config.json", "model.safetensors"):
            archive.extract(name, tmp_path)
    load_model(str(tmp_path))


def test_nothing_finished_is_repeated(work, seed_dir):
    scores = {path: path.stat().st_mtime_ns for path in seed_dir.rglob("score.json")}
    models = {path: path.stat().st_mtime_ns for path in seed_dir.glob("*/checkpoint.pth")}
    assert len(scores) == 8
    assert len(models) == 3
    result = run(work, "--stage", "3", "--stop_stage", "5", "--skip_stages", "4")
    assert result.returncode == 0, result.stderr[-4000:]
    assert all(path.stat().st_mtime_ns == before for path, before in {**scores, **models}.items())


def test_missing_teacher_names_its_stage(tmp_path):
    result = run(tmp_path, "--stage", "3", "--stop_stage", "3")
    assert result.returncode == 1
    assert "the teacher of seed 0" in result.stderr
    assert "--stage 2" in result.stderr


def test_unknown_corpus_stops_at_stage_0(tmp_path):
    result = run(tmp_path, "--corpus", "librispeech:/nowhere", "--stop_stage", "0")
    assert result.returncode == 1
    assert "no such file or folder /nowhere" in result.stderr
