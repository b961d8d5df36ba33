"""egs/mini/distil_whisper1 from stage 0 to 7 with a few updates, in forks of one warm process."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from safetensors.torch import load_file

from espnet_kd.errors import MissingDependencyError
from espnet_kd.evaluation.runs import load_runs
from espnet_kd.whisper.tokenizer import assets

RECIPE = Path(__file__).resolve().parents[2] / "egs" / "mini" / "distil_whisper1"
SYSTEMS = ("teacher", "distil", "udistil", "distil_scratch", "udistil_scratch")

# A group of its own: its work is done by other processes.
pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("recipes")]


@pytest.fixture(scope="module", autouse=True)
def vocabulary() -> None:
    """The recipe builds its tokenizer of openai-whisper's files."""
    try:
        assets()
    except MissingDependencyError as error:
        pytest.skip(str(error))


def run(work: Path, python: Path, *options: object) -> subprocess.CompletedProcess[str]:
    words = [RECIPE / "run.sh", "--smoke", "true", "--python", python]
    words += ["--datadir", work / "data", "--expdir", work / "exp", *options]
    return subprocess.run(
        [*map(str, words)], capture_output=True, text=True, check=False, timeout=600
    )


@pytest.fixture(scope="module")
def work(warm_python, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("mini_whisper")
    result = run(folder, warm_python)
    assert result.returncode == 0, result.stderr[-4000:]
    assert "ASR WER: distil " in result.stdout
    assert "(a smoke run: the numbers mean nothing)" in result.stdout
    return folder


@pytest.fixture(scope="module")
def seed_dir(work) -> Path:
    return work / "exp/synthetic_smoke/seed0"


def test_every_system_has_scores_and_a_size(seed_dir):
    runs = {run.name: run for run in load_runs(sorted((seed_dir / "results").glob("*.json")))}
    assert runs.keys() == set(SYSTEMS)
    for one in runs.values():
        assert [score.metric for score in one.scores][:3] == ["WER", "raw WER", "RTFx"]
        assert one.command.startswith("egs/mini/distil_whisper1/run.sh --corpus synthetic")
    sizes = {name: one.profile["parameters"]["total"] for name, one in runs.items()}
    assert sizes["distil"] == sizes["distil_scratch"] < sizes["teacher"]
    assert sizes["udistil"] == sizes["udistil_scratch"] < sizes["teacher"]
    assert [score.task for score in runs["distil"].scores][3:] == ["drafting", "drafting"]


def test_drafted_texts_are_the_teachers_own(seed_dir):
    metrics = json.loads((seed_dir / "draft" / "teacher_mini_test_metrics.json").read_text())
    draft = metrics["draft"]
    assert draft["shared_encoder"]
    assert draft["identical"] == draft["utterances"] > 0


def test_students_have_the_shapes_asked_for_and_the_teachers_weights(seed_dir):
    configs, encoders = {}, {}
    for name in SYSTEMS:
        configs[name] = json.loads((seed_dir / "models" / name / "config.json").read_text())
        weights = load_file(seed_dir / "models" / name / "model.safetensors")
        encoders[name] = weights["model.encoder.conv1.weight"]
    shapes = {name: (c["encoder_layers"], c["decoder_layers"]) for name, c in configs.items()}
    assert shapes == {
        **dict.fromkeys(("distil", "distil_scratch"), (4, 2)),
        **dict.fromkeys(("udistil", "udistil_scratch"), (2, 2)),
        "teacher": (4, 4),
    }
    same = [name for name in SYSTEMS if encoders[name].equal(encoders["teacher"])]
    assert same == ["teacher", "distil"]


def test_a_student_is_a_complete_folder(seed_dir):
    folder = seed_dir / "models" / "distil"
    names = {path.name for path in folder.iterdir()}
    assert {"generation_config.json", "preprocessor_config.json", "tokenizer.json"} <= names
    config = json.loads((folder / "config.json").read_text())
    assert config["vocab_size"] == 2048 + 1608
    extractor = json.loads((folder / "preprocessor_config.json").read_text())
    assert config["max_source_positions"] == 50 * extractor["chunk_length"]


def test_no_transcript_reaches_the_label_free_student(work, seed_dir):
    assert not (work / "data/synthetic_smoke/whisper/untranscribed/text").exists()
    lines = (seed_dir / "labels/untranscribed/labels.jsonl").read_text().splitlines()
    assert {json.loads(line)["reference"] for line in lines} == {None}
    decided = (seed_dir / "filtered/free_transcribed/decisions.jsonl").read_text().splitlines()
    assert all(json.loads(line)["scores"].keys() == {"conf"} for line in decided)


def test_report(work):
    report = work / "exp/synthetic_smoke/report"
    table = (report / "RESULTS.md").read_text(encoding="utf-8")
    assert all(f"| {name} |" in table for name in SYSTEMS)
    assert "Labels kept (%) | WER of labels (%) |" in table
    assert str(work) not in table
    page = (report / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64") == 4, "trade-off, loss, WER, AUC"


def test_nothing_finished_is_repeated(work, seed_dir, warm_python):
    kept = [*seed_dir.glob("*/checkpoint.pth"), *seed_dir.rglob("labels.jsonl")]
    kept += [*seed_dir.rglob("model.safetensors"), *seed_dir.rglob("*_metrics.json")]
    before = {path: path.stat().st_mtime_ns for path in kept}
    assert len(before) >= 5 + 2 + 10 + 5
    result = run(work, warm_python, "--stage", "2", "--stop_stage", "6")
    assert result.returncode == 0, result.stderr[-4000:]
    assert {path: path.stat().st_mtime_ns for path in kept} == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--stage", "3"), "(the teacher of seed 0), which stage 2 makes"),
        (("--stage", "5"), "(filtered labels of seed 0), which stage 4 makes"),
        (("--stage", "8", "--stop_stage", "8"), "stage 8 needs --hf_repo"),
        (("--corpus", "digits:/nowhere"), "no such file or folder /nowhere"),
    ],
)
def test_a_missing_input_names_its_stage(warm_python, tmp_path, options, message):
    result = run(tmp_path, warm_python, *options)
    assert result.returncode == 1
    assert message in result.stderr
