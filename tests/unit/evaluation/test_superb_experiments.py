"""Score files of S3PRL runs become one row, or one message that names the file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from espnet_kd.errors import KDError, ScoreError
from espnet_kd.evaluation.superb.experiments import fold_of, read_experiment
from espnet_kd.evaluation.superb.table import run_tables
from tests.unit.evaluation.superb_made_up import SCORES, score, write_runs, write_score


def problems_of(folder: Path) -> list[str]:
    with pytest.raises(ScoreError) as caught:
        read_experiment("tiny", folder)
    assert str(caught.value).startswith(f"tiny: {folder}")
    return caught.value.problems


def test_ten_tasks_with_two_slot_numbers_and_five_folds(tmp_path: Path) -> None:
    experiment = read_experiment("tiny", write_runs(tmp_path))
    scores = experiment.model.scores
    assert scores.er == pytest.approx(62.86)
    assert replace(scores, er=SCORES.er) == SCORES
    assert experiment.model.missing() == []
    assert experiment.passed_over == ()
    assert len(experiment.found) == 8 + 2 + 5
    assert experiment.found[0].checkpoint.endswith("dev-best.ckpt")


def test_folders_may_lie_deeper_and_be_named_otherwise(tmp_path: Path) -> None:
    write_runs(tmp_path / "a" / "b")
    for fold in range(1, 6):
        (tmp_path / "a/b/er" / f"fold{fold}").rename(tmp_path / f"ER_Fold_{fold}")
    assert read_experiment("tiny", tmp_path).model.missing() == []


@pytest.mark.parametrize(
    ("path", "fold"),
    [("er/fold1/score.json", "fold1"), ("fold3/er_fold-2/score.json", "fold2"), ("er/x", "")],
)
def test_fold_of(path: str, fold: str) -> None:
    assert fold_of(Path(path)) == fold


def test_fewer_folds_are_averaged_and_said(tmp_path: Path) -> None:
    model = read_experiment("tiny", write_runs(tmp_path, folds=3)).model
    assert model.scores.er == pytest.approx(61.86)
    assert model.missing() == ["ER (3 of 5 folds, without fold4, fold5)"]
    assert model.overall() is None
    assert model.superb_s() is None


def test_a_fold_twice(tmp_path: Path) -> None:
    write_runs(tmp_path)
    write_score(tmp_path / "again_fold2", score("ER", "accuracy", 60.0))
    problem = "ER accuracy fold2 is there twice, in again_fold2/score.json and er/fold2/score.json"
    assert problems_of(tmp_path) == [f"{problem}; keep one of them"]


def test_a_run_of_unknown_fold(tmp_path: Path) -> None:
    write_score(tmp_path / "er", score("ER", "accuracy", 60.0))
    write_score(tmp_path / "er_fold6", score("ER", "accuracy", 60.0))
    first, second = problems_of(tmp_path)
    assert first == "er/score.json: ER of unknown fold; its folders are er/fold1 to er/fold5"
    assert second.startswith("er_fold6/score.json: ER of unknown fold")


def test_runs_below_a_tasks_own_score_are_part_of_it(tmp_path: Path) -> None:
    """As run_downstream leaves ASV's checkpoints, QbE's layers and ER's folds."""
    write_runs(tmp_path)
    write_score(tmp_path / "asv/checkpoints/states-10", score("ASV", "EER", 9.0))
    write_score(tmp_path / "asv/checkpoints/states-20", score("ASV", "EER", 5.68))
    write_score(tmp_path / "qbe/dev/layer_0", score("QbE", "MTWV", 0.01, split="dev"))
    write_score(tmp_path / "qbe/test", score("QbE", "MTWV", 0.0635))
    write_score(tmp_path / "er", score("ER", "accuracy", 62.86, split="test, 5 folds"))
    experiment = read_experiment("tiny", tmp_path)
    assert experiment.model.scores == SCORES
    assert experiment.model.missing() == []
    assert experiment.passed_over == ()
    assert [one.fold for one in experiment.found if one.metric.task == "ER"] == ["5 folds"]


def test_a_language_model_is_not_superbs_recogniser(tmp_path: Path) -> None:
    write_score(tmp_path / "asr", score("ASR", "WER", 9.96))
    write_score(tmp_path / "asr_lm", score("ASR", "WER", 7.0))
    experiment = read_experiment("tiny", tmp_path)
    assert experiment.model.scores.asr == 9.96
    assert experiment.passed_over[0].startswith("asr_lm/score.json: with a language model")


def test_features_that_are_not_stock_are_said(tmp_path: Path) -> None:
    write_score(tmp_path / "pr", score("PR", "PER", 7.7, features="isolated, comparable"))
    write_score(tmp_path / "ks", score("KS", "accuracy", 96.0, features="stock"))
    experiment = read_experiment("tiny", tmp_path)
    assert experiment.model.source == f"runs in {tmp_path.name}; features isolated, comparable: PR"
    assert run_tables([experiment])[0].rows[1][3] == "isolated, comparable"


def test_a_number_twice(tmp_path: Path) -> None:
    write_score(tmp_path / "a", score("PR", "PER", 7.7))
    write_score(tmp_path / "b", score("PR", "PER", 7.8))
    (problem,) = problems_of(tmp_path)
    assert problem.startswith("PR PER is there twice, in a/score.json and b/score.json")


def test_runs_of_two_models_are_no_row(tmp_path: Path) -> None:
    write_score(tmp_path / "pr", score("PR", "PER", 7.7, upstream_ckpt="./exp/student/"))
    write_score(tmp_path / "ks", score("KS", "accuracy", 96.0))
    assert read_experiment("tiny", tmp_path).model.scores.pr == 7.7
    write_score(tmp_path / "ic", score("IC", "accuracy", 96.0, upstream_ckpt="exp/teacher"))
    (problem,) = problems_of(tmp_path)
    assert "armhubert -k exp/teacher (IC); armhubert -k exp/student (KS, PR)" in problem


@pytest.mark.parametrize("split", ["dev", "test-other", "valid", ""])
def test_only_the_published_split_counts(tmp_path: Path, split: str) -> None:
    write_score(tmp_path / "asr", score("ASR", "WER", 9.0, split=split))
    write_score(tmp_path / "ks", score("KS", "accuracy", 96.0))
    experiment = read_experiment("tiny", tmp_path)
    assert experiment.model.scores.asr is None
    note = f"asr/score.json: ASR of split {split!r}, not of the test set"
    assert experiment.passed_over == (note,)


def test_other_tasks_and_numbers_are_passed_over(tmp_path: Path) -> None:
    write_score(tmp_path / "ks", score("KS", "acc", 96.0, more=[7]))
    write_score(tmp_path / "se", score("enhancement_stft", "pesq", 2.6, unit="", more=7))
    first, second = read_experiment("tiny", tmp_path).passed_over
    assert first == "ks/score.json: acc is none of SUPERB's numbers of KS"
    assert second == "se/score.json: enhancement_stft is none of SUPERB's ten tasks"


def test_units_are_believed_but_not_against_the_tables(tmp_path: Path) -> None:
    write_score(tmp_path / "pr", score("PR", "PER", 0.4))
    write_score(tmp_path / "qbe", score("QbE", "MTWV", 0.9))
    scores = read_experiment("tiny", tmp_path).model.scores
    assert (scores.pr, scores.qbe) == (0.4, 0.9)
    write_score(tmp_path / "pr", score("PR", "PER", 0.4, unit=""))
    write_score(tmp_path / "qbe", score("QbE", "MTWV", 7.4, unit="%"))
    first, second = problems_of(tmp_path)
    assert first.startswith("pr/score.json: PR PER is given in per cent")
    assert second.endswith("and 7.4 is said to be in '%'")


def test_empty_and_damaged_folders(tmp_path: Path) -> None:
    assert "run_downstream -m evaluate writes them" in problems_of(tmp_path)[0]
    assert f"({tmp_path / 'gone'} is no folder)" in problems_of(tmp_path / "gone")[0]
    (tmp_path / "score.json").write_text("{")
    with pytest.raises(KDError, match=r"cannot read .*score\.json.*Evaluate that run again"):
        read_experiment("tiny", tmp_path)
