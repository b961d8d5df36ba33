"""The mini recipe's own scripts: what they collect and what they say about it."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from espnet_kd.encoder import SpeechEncoder
from espnet_kd.evaluation.runs import Run, Score

RECIPE = Path(__file__).resolve().parents[3] / "egs" / "mini" / "armhubert1"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"mini_{name}", RECIPE / "local" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_of(name: str, wer: float, accuracy: float, seed: int = 0) -> Run:
    role = {"teacher": "teacher", "student": "student"}.get(name, "baseline")
    scores = (
        Score("ASR", "WER", wer, "lower", "%"),
        Score("SID", "accuracy", accuracy, "higher", "%"),
    )
    return Run(name, role, scores, seed=seed)


def test_verdict_knows_what_better_means():
    runs = [run_of("student", 30, 50), run_of("student", 34, 54, 1)]
    runs += [run_of("untrained", 90, 60), run_of("teacher", 20, 70)]
    said = script("verdict").lines(runs)
    assert said == [
        "ASR WER: student 32.0, untrained 90.0: the student is 58.0 points better",
        "SID accuracy: student 52.0, untrained 60.0: the student is 8.0 points worse",
        "ASR WER: student 32.0, teacher 20.0: the student is 12.0 points worse",
        "SID accuracy: student 52.0, teacher 70.0: the student is 18.0 points worse",
    ]


def test_scores_are_collected(tmp_path):
    for task, value in (("asr", 12.5), ("sid", 80.0)):
        values = {"task": task.upper(), "metric": "m", "value": value, "unit": "%"}
        path = tmp_path / task / "score.json"
        path.parent.mkdir()
        path.write_text(json.dumps({**values, "direction": "lower", "split": "test"}))
    found = script("collect").scores_of(tmp_path)
    assert [(score.task, score.value) for score in found] == [("ASR", 12.5), ("SID", 80.0)]


def test_missing_scores_name_the_stage(tmp_path, monkeypatch):
    arguments = ["collect.py", "--seed_dir", str(tmp_path), "--seed", "0", "--corpus", "x"]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit, match=r"no score of teacher .* --stage 5"):
        script("collect").main()


def test_check_lists_all_problems(tmp_path, monkeypatch, capsys):
    arguments = ["check.py", "--corpus", "digits:/nowhere", "--min_free_gb", "1e9"]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as stop:
        script("check").main()
    assert "no such file or folder /nowhere" in str(stop.value)
    assert "GB are needed" in str(stop.value)


def configs() -> dict[str, dict]:
    paths = sorted((RECIPE / "conf").glob("*.yaml"))
    return {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in paths}


def test_baseline_differs_from_the_student_only_in_objective_and_rate():
    student, baseline = configs()["distil_student"], configs()["train_no_teacher"]
    differing = {key for key in student | baseline if student.get(key) != baseline.get(key)}
    assert differing <= {"kd_conf", "optim_conf"}
    assert student["kd_conf"]["mask"] == baseline["kd_conf"]["mask"]


def test_student_has_a_third_of_the_teachers_parameters():
    from espnet_kd.tasks.students import student_config

    sizes = {}
    for name in ("train_teacher", "distil_student"):
        values = configs()[name]
        config = student_config(values["student"], values["student_conf"])
        model = SpeechEncoder.from_config(config)
        sizes[name] = sum(parameter.numel() for parameter in model.parameters())
    assert sizes["distil_student"] / sizes["train_teacher"] == pytest.approx(1 / 3, abs=0.05)


def test_every_training_file_is_a_valid_configuration():
    from espnet_kd.tasks.options import DistillConfig

    names = [name for name in configs() if name.startswith(("train_", "distil_"))]
    assert len(names) == 3
    for name in names:
        DistillConfig.from_dict(configs()[name]["kd_conf"])
