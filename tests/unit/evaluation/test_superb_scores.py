"""SUPERB's two scores: hand-computed values, missing numbers, values in another unit."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import pytest

from espnet_kd.errors import ScoreError
from espnet_kd.evaluation.superb.metrics import METRICS, TASKS
from espnet_kd.evaluation.superb.scores import Scores, overall, superb_s
from tests.unit.evaluation.superb_made_up import SCORES

BASE = Scores(**{metric.field: metric.base for metric in METRICS})
SOTA = Scores(**{metric.field: metric.sota for metric in METRICS})


def test_the_ten_tasks_and_eleven_numbers() -> None:
    assert TASKS == ("PR", "ASR", "KS", "QbE", "SID", "ASV", "SD", "IC", "SF", "ER")
    assert [metric.field for metric in METRICS] == [field.name for field in fields(Scores)]
    assert [m.name for m in METRICS if m.task == "SF"] == ["slot_type_f1", "slot_value_cer"]


def test_overall_by_hand() -> None:
    points = [92.28, 90.04, 96.88, 6.35, 65.03, 94.32, 92.90, 97.07, 87.59, 73.94, 62.86]
    assert overall(SCORES) == pytest.approx(sum(points) / 11, abs=1e-12)


def test_superb_s_runs_from_0_to_1000() -> None:
    assert superb_s(BASE) == pytest.approx(0, abs=1e-9)
    assert superb_s(SOTA) == pytest.approx(1000, abs=1e-9)


def test_superb_s_weighs_tasks_equally_and_averages_slot_filling() -> None:
    for metric in METRICS:
        half = replace(BASE, **{metric.field: (metric.base + metric.sota) / 2})
        expected = 25 if metric.task == "SF" else 50
        assert superb_s(half) == pytest.approx(expected, abs=1e-9), metric.field


@pytest.mark.parametrize("formula", [overall, superb_s])
def test_missing_numbers_are_named(formula) -> None:
    with pytest.raises(ScoreError) as caught:
        formula(replace(SCORES, qbe=None, sf_cer=None))
    assert caught.value.problems == ["QbE MTWV is missing", "SF slot_value_cer is missing"]


def test_nested_names_come_back() -> None:
    assert Scores.from_nested(SCORES.nested()) == SCORES
    assert SCORES.nested()["SF"] == {"slot_type_f1": 87.59, "slot_value_cer": 26.06}
    part = {"pr": 7.72, "QBE": {"mtwv": 0.0635}, "SF": {"Slot_Type_F1": 87.59}}
    assert Scores.from_nested(part) == Scores(pr=7.72, qbe=0.0635, sf_f1=87.59)


@pytest.mark.parametrize(
    ("nested", "message"),
    [
        ({"QbE": {"MTWV": 6.35}}, "QbE MTWV is given as a fraction (0.0736), from 0 to 1, and is"),
        ({"QbE": 0.58}, "0.58 looks like another unit"),
        ({"KS": {"accuracy": 0.9688}}, "KS accuracy is given in per cent (5.41), and 0.9688"),
        ({"SID": 1}, "1 looks like another unit"),
        ({"ASR": {"WER": 0.0996}}, "ASR WER is given in per cent (5.41), and 0.0996 looks like"),
        ({"PR": {"PER": 772}}, "PR PER is given in per cent (5.41), from 0 to 200, and is 772"),
        ({"IC": {"accuracy": 100.5}}, "from 0 to 100, and is 100.5"),
        ({"SD": {"DER": -7.1}}, "from 0 to 200, and is -7.1"),
        ({"ER": {"accuracy": math.nan}}, "nan is not finite"),
        ({"PR": 10**400}, "inf is not finite"),
        ({"ER": {"accuracy": "62.9"}}, "'62.9' is no number"),
        ({"ER": {"accuracy": True}}, "True is no number"),
        ({"ER": {"accuracy": {"value": 0.6, "unit": "fraction"}}}, "said to be in 'fraction'"),
        ({"QbE": {"MTWV": {"value": 6.35, "unit": "%"}}}, "6.35 is said to be in '%'"),
        ({"ASR": {"CER": 9.96}}, "ASR: unknown CER; did you mean WER?"),
        ({"SF": 87.59}, "SF: expected an object with slot_type_f1, slot_value_cer"),
        ({"SE": 2.0}, "unknown task SE; there are PR, ASR"),
        ({"pr": 7.7, "PR": 7.7}, "PR PER is given twice"),
        ([1], "expected an object of tasks"),
    ],
)
def test_a_value_that_cannot_be_is_named_with_model_task_and_unit(nested, message) -> None:
    with pytest.raises(ScoreError) as caught:
        Scores.from_nested(nested, "tiny")
    assert message in str(caught.value)
    assert str(caught.value).startswith("tiny: 1 problem(s)")


def test_all_problems_come_at_once() -> None:
    with pytest.raises(ScoreError) as caught:
        Scores.from_nested({"PR": 0.07, "ASR": 9.96, "KS": {"acc": 1}, "XY": 0})
    assert len(caught.value.problems) == 3


def test_an_unlikely_value_can_be_meant() -> None:
    """A toy corpus may be learnt to 0.4 % errors; what was stated stays stated when written."""
    stated = {"PR": {"PER": {"value": 0.4, "unit": "%"}}, "QbE": {"value": 0.9}}
    scores = Scores.from_nested(stated)
    assert scores == Scores(pr=0.4, qbe=0.9)
    assert Scores.from_nested(scores.nested()) == scores
    assert Scores.from_nested({"PR": 0, "KS": 0.0}) == Scores(pr=0.0, ks=0.0)
