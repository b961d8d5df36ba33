"""The mini recipes' Python: what they collect, what they say about it, and their configurations."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
import yaml

from egs.TEMPLATE import check, collect_runs, gather_models, random_student, verdict
from espnet_kd import load_model
from espnet_kd.encoder import SpeechEncoder
from espnet_kd.evaluation.runs import Run, Score, load_run
from tests.integration.toy_librispeech import make_teacher

MINI = Path(__file__).resolve().parents[3] / "egs" / "mini"


def script(recipe: str, name: str) -> ModuleType:
    path = MINI / recipe / "local" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"{recipe}_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_of(name: str, wer: float, accuracy: float, seed: int = 0, **more) -> Run:
    role = {"teacher": "teacher", "student": "student"}.get(name, "baseline")
    scores = (
        Score("ASR", "WER", wer, "lower", "%"),
        Score("SID", "accuracy", accuracy, "higher", "%"),
    )
    return Run(name, role, scores, seed=seed, **more)


def test_verdict_knows_what_better_means():
    runs = [run_of("student", 30, 50), run_of("student", 34, 54, 1)]
    runs += [run_of("untrained", 90, 60), run_of("teacher", 20, 70)]
    pairs = ["student:untrained", "student:teacher"]
    said = verdict.lines(runs, pairs)
    assert said == [
        "ASR WER: student 32.0, untrained 90.0: the student is 58.0 points better",
        "SID accuracy: student 52.0, untrained 60.0: the student is 8.0 points worse",
        "ASR WER: student 32.0, teacher 20.0: the student is 12.0 points worse",
        "SID accuracy: student 52.0, teacher 70.0: the student is 18.0 points worse",
    ]


def test_verdict_on_targets_and_ties():
    near = {"measure": "params", "target": 0.75, "reached": 0.7561, "off_target": 0.0061}
    far = {"measure": "macs", "target": 0.5, "reached": 0.48, "off_target": 0.02}
    runs = [run_of("a", 30, 50, pruning=near), run_of("b", 30, 51, seed=1, pruning=far)]
    assert verdict.lines(runs, ["a:b"]) == [
        "a, seed 0: 75.61% of the parameters removed, target 75%: 0.61 points off, within 1%",
        "b, seed 1: 48.00% of the MACs removed, target 50%: 2.00 points off, NOT within 1%",
        "ASR WER: a 30.0, b 30.0: the a is as good",
        "SID accuracy: a 50.0, b 51.0: the a is 1.0 points worse",
    ]


@pytest.mark.parametrize(
    ("recipe", "words"), [("armhubert1", ()), ("dphubert1", ("--targets", "0.5"))]
)
def test_missing_scores_name_the_stage(recipe, words, tmp_path, monkeypatch):
    arguments = ["collect.py", "--seed_dir", str(tmp_path), "--seed", "0", "--corpus", "x", *words]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit, match=r"no score of teacher .* --stage 5"):
        script(recipe, "collect").main()


def test_mvq_is_scored_and_measured_without_its_head(tmp_path, monkeypatch):
    (tmp_path / "text").write_text("u1 ONE TWO\nu2 THREE FOUR\n")
    states = {"encoder.w": torch.zeros(3, 5), "am_proj.weight": torch.zeros(7)}
    states |= {"codebook_loss.linear2_bias": torch.zeros(9), "num_updates": torch.tensor(4)}
    arguments = ["collect.py", "--seed_dir", str(tmp_path), "--seed", "1", "--corpus", "x"]
    monkeypatch.setattr(sys, "argv", [*arguments, "--reference", str(tmp_path / "text")])
    collect = script("mvq1", "collect").main
    with pytest.raises(SystemExit, match=r"mvq.*run ./run.sh --stage 5"):
        collect()
    for name, words in (("mvq", "ONE TWO"), ("no_codes", "ONE")):
        found = tmp_path / "decode" / name / "1best_recog"
        found.mkdir(parents=True)
        (found / "text").write_text(f"u1 {words}\nu2 THREE FOUR\n")
        (tmp_path / name).mkdir()
        torch.save(states, tmp_path / name / "valid.loss.ave.pth")
    collect()
    runs = {name: load_run(tmp_path / "results" / f"{name}.json") for name in ("mvq", "no_codes")}
    assert [run.scores[0].value for run in runs.values()] == [0.0, 25.0]
    assert {run.profile["parameters"]["total"] for run in runs.values()} == {15}


def test_check_lists_all_problems(tmp_path, monkeypatch, capsys):
    arguments = ["check.py", "--corpus", "digits:/nowhere", "--min_free_gb", "1e9"]
    arguments += ["--packages", "torch", "no-such-package"]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as stop:
        check.main()
    assert "no such file or folder /nowhere" in str(stop.value)
    assert "GB are needed" in str(stop.value)
    assert "package no-such-package is not installed" in str(stop.value)


# --- Collecting
@pytest.fixture
def seed_dir(tmp_path):
    """What stages 3 to 5 leave of one pruned system."""
    for path, values in {
        "downstream/a/asr/score.json": {"task": "ASR", "metric": "WER", "value": 12.5, "unit": "%"},
        "downstream/a/sid/score.json": {"task": "SID", "metric": "accuracy", "value": 80.0},
        "models/a.profile.json": {"parameters": {"total": 7}},
        "pruned/pruning.json": {"target": 0.5, "reached": 0.51},
    }.items():
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.name == "score.json":
            values = {"unit": "", "direction": "lower", "split": "test", **values}
        file.write_text(json.dumps(values))
    (tmp_path / "a" / "tensorboard").mkdir(parents=True)
    return tmp_path


def collected(seed_dir: Path, system: collect_runs.System) -> Run:
    words = ["--seed_dir", str(seed_dir), "--seed", "3", "--corpus", "x", "--command", "./run.sh"]
    collect_runs.write_runs({"a": system}, collect_runs.get_parser("").parse_args(words))
    return load_run(seed_dir / "results" / "a.json")


def test_a_run_is_collected(seed_dir):
    run = collected(seed_dir, collect_runs.System("student", "small", pruned="pruned"))
    assert [(score.task, score.value) for score in run.scores] == [("ASR", 12.5), ("SID", 80.0)]
    assert (run.role, run.seed, run.corpus, run.command) == ("student", 3, "x", "./run.sh")
    assert run.profile == {"parameters": {"total": 7}}
    assert Path(run.curves).resolve() == seed_dir / "a" / "tensorboard"
    assert run.pruning["reached"] == 0.51
    assert Path(run.pruning["picture"]).resolve() == seed_dir / "pruned" / "pruning.png"
    assert collected(seed_dir, collect_runs.System("teacher", "big")).pruning == {}


def test_systems_of_the_pruning_recipe():
    systems = script("dphubert1", "collect").systems_of("0.75")
    assert [(name, system.role) for name, system in systems.items()] == [
        ("phase1_sp0.75", "student"),
        ("phase2_sp0.75", "student"),
        ("same_size_sp0.75", "baseline"),
    ]
    assert systems["phase1_sp0.75"].pruned == "pruned_sp0.75"


# --- Gathering
@pytest.fixture
def gather(tmp_path, monkeypatch):
    """Return ``gather(NAME=DIR, ...)``: the names of the models that were measured."""

    def run(*models: str) -> list[str]:
        measured = []
        monkeypatch.setattr(sys, "argv", ["x", "--out", str(tmp_path / "out"), "--models", *models])
        monkeypatch.setattr(gather_models, "profile_table", str)
        monkeypatch.setattr(
            gather_models,
            "profile",
            lambda model, seconds, runs: (
                measured.append(Path(model).name) or {"macs": {"seconds": seconds}}
            ),
        )
        gather_models.main()
        return measured

    return run


def test_models_of_one_shape_are_measured_once(tmp_path, gather):
    for name, shape, weights in (("a", 1, "x"), ("b", 1, "y"), ("c", 2, "z")):
        (tmp_path / name).mkdir()
        values = {"encoder": {"embed_dim": shape}, "weights_sha256": weights}
        (tmp_path / name / "config.json").write_text(json.dumps(values))
    models = [f"{name}={tmp_path / name}" for name in "abc"]
    assert gather(*models) == ["a", "c"]
    assert (tmp_path / "out" / "b.profile.json").is_file()
    assert gather(*models) == [], "nothing has changed"
    config = tmp_path / "b" / "config.json"
    config.write_text(config.read_text().replace("y", "new"))
    assert gather(*models) == ["a", "c"]
    assert (tmp_path / "out" / "b" / "config.json").read_text() == config.read_text()


def test_a_random_student_has_the_shape_and_other_weights(tmp_path, monkeypatch):
    make_teacher(tmp_path / "a")
    for seed, out in ((0, "b"), (0, "c"), (1, "d")):
        words = ["--like", tmp_path / "a", "--seed", seed, "--out", tmp_path / out]
        monkeypatch.setattr(sys, "argv", ["x", *map(str, words)])
        random_student.main()
    whole, *others = (load_model(str(tmp_path / name)) for name in "abcd")
    assert all(other.config == whole.config for other in others)
    first, same, different = (other.layers[0].feed_forward.output.weight for other in others)
    assert torch.equal(first, same)
    assert not torch.equal(first, different)


# --- Configurations
def configs() -> dict[str, dict]:
    paths = sorted(MINI.glob("conf/*.yaml")) + sorted(MINI.glob("*hubert1/conf/*.yaml"))
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


def test_the_same_size_gets_as_many_updates_as_both_phases():
    phases, same = [configs()[name] for name in ("phase1", "phase2")], configs()["same_size"]
    assert sum(phase["max_epoch"] for phase in phases) == same["max_epoch"]
    for phase in phases:
        for key in ("num_iters_per_epoch", "batch_type", "batch_bins", "student_conf", "optim"):
            assert phase[key] == same[key]
        assert phase["kd_conf"]["objectives"] == same["kd_conf"]["objectives"]


def test_every_training_file_is_understood():
    from espnet_kd.tasks.ssl_distill import SSLDistillTask
    from espnet_kd.tasks.yaml_check import parse

    paths = [*MINI.glob("conf/*.yaml"), *MINI.glob("*hubert1/conf/*.yaml")]
    paths = [path for path in paths if not path.name.startswith("superb_")]
    assert len(paths) == 8
    for path in paths:
        args, problems = parse(SSLDistillTask.get_parser(), ["--config", str(path)])
        assert problems + SSLDistillTask.problems(args) == []


def test_options_of_the_command_line_join_the_file():
    from espnet_kd.tasks.options import DistillConfig
    from espnet_kd.tasks.ssl_distill import SSLDistillTask

    words = ["--config", str(MINI / "dphubert1" / "conf" / "phase1.yaml")]
    words += ["--kd_conf", "pruning.target_sparsity=0.25"]
    words += ["--kd_conf", "objectives.layer_distill.projections=some folder/x"]
    kd = DistillConfig.from_dict(SSLDistillTask.get_parser().parse_args(words).kd_conf)
    assert (kd.pruning.target_sparsity, kd.pruning.log_every) == (0.25, 10)
    assert kd.objectives.layer_distill.projections == "some folder/x"
    assert kd.objectives.layer_distill.distill_layers == "0.2,4,6"
