"""The run JSON: what is written is read back, and every mistake is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from espnet_kd.errors import ConfigError, KDError
from espnet_kd.evaluation.runs import Run, load_run, load_runs, load_scores
from tests.unit.evaluation.made_up import experiment, run, save


def test_saved_runs_come_back(tmp_path: Path) -> None:
    written = run("a", "student", 3.0)
    written.save(tmp_path / "run.json")
    assert load_run(tmp_path / "run.json") == written


def test_teachers_come_first(tmp_path: Path) -> None:
    paths = save(list(reversed(experiment())), tmp_path)
    assert [one.role for one in load_runs(paths)] == ["teacher", "student", "student", "baseline"]


def test_the_example_of_the_documentation_is_valid(tmp_path: Path) -> None:
    import espnet_kd.evaluation.runs as module

    text = (module.__doc__ or "").partition("json\n")[2].partition("\n\n``role``")[0]
    loaded = Run.from_dict(json.loads(text))
    assert [score.label for score in loaded.scores] == ["ASR WER % ↓", "SID accuracy % ↑"]


def test_the_picture_of_a_pruning_is_relative_to_the_file(tmp_path: Path) -> None:
    pruning = {"reached": 0.5, "picture": "../pruned/pruning.png"}
    run("a", "student", 3.0, pruning=pruning).save(tmp_path / "run.json")
    loaded = load_run(tmp_path / "run.json").pruning
    assert loaded == {"reached": 0.5, "picture": str(tmp_path / "../pruned/pruning.png")}
    with pytest.raises(ConfigError, match="pruning: expected the content"):
        Run.from_dict({"name": "a", "role": "student", "scores": [], "pruning": "x.json"})


def test_scores_of_all_tasks(tmp_path: Path) -> None:
    for task, value in (("sid", 80.0), ("asr", 12.5)):
        values = {"task": task.upper(), "metric": "m", "value": value, "unit": "%"}
        (tmp_path / task).mkdir()
        text = json.dumps({**values, "direction": "lower", "split": "test"})
        (tmp_path / task / "score.json").write_text(text)
    found = load_scores(tmp_path)
    assert [(score.label, score.value) for score in found] == [
        ("ASR m % ↓", 12.5),
        ("SID m % ↓", 80.0),
    ]
    assert load_scores(tmp_path / "nowhere") == ()


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "profile.json").write_text('{"parameters": {"total": 7}}')
    values = {"name": "a", "role": "student", "scores": [], "profile": "profile.json"}
    (tmp_path / "run.json").write_text(json.dumps({**values, "curves": "tb"}))
    loaded = load_run(tmp_path / "run.json")
    assert loaded.profile == {"parameters": {"total": 7}}
    assert loaded.curves == str(tmp_path / "tb")


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    score = {"task": "ASR", "metric": "WER", "value": float("nan"), "direction": "down"}
    values = {"role": "pupil", "sedd": 1, "scores": [score, {"task": "SID"}], "schema": 9}
    with pytest.raises(ConfigError) as caught:
        Run.from_dict(values, source="bad.json")
    text = str(caught.value)
    for part in ("bad.json", "'sedd'", "'name'", "'pupil'", "'down'", "nan", "'metric'", "schema"):
        assert part in text


@pytest.mark.parametrize("text", ["", "[1]", "{"])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(KDError, match=r"run\.json"):
        load_run(tmp_path / "run.json")


def test_no_runs_is_an_error() -> None:
    with pytest.raises(KDError, match="--runs"):
        load_runs([])
