"""Rows, positions, cells and the two figures of a SUPERB table."""

from __future__ import annotations

import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from espnet_kd.errors import ConfigError, ScoreError
from espnet_kd.evaluation.superb import models
from espnet_kd.evaluation.superb.models import Model, read_models
from espnet_kd.evaluation.superb.published import published_models
from espnet_kd.evaluation.superb.report import tradeoff_panels
from espnet_kd.evaluation.superb.table import as_json, by_score, ranks, score_table, source_table
from tests.unit.evaluation.superb_made_up import SCORES

TINY = Model("tiny", SCORES, parameters=26.4, macs=501.6)
WORSE = replace(TINY, name="worse", scores=replace(SCORES, pr=9.0, sid=60.0, sf_f1=80.0))


def test_rank_is_the_mean_position() -> None:
    # Eight tasks or halves of them are shared (1.5 each); PR, SID and half of SF are won.
    assert ranks([TINY, WORSE]) == pytest.approx(
        [(7 * 1.5 + 1 + 1 + (1 + 1.5) / 2) / 10, (7 * 1.5 + 2 + 2 + (2 + 1.5) / 2) / 10]
    )
    assert ranks([TINY]) == [1.0]


def test_rank_skips_what_is_missing_or_partial() -> None:
    """A model without a number takes no position there, so it changes no other's."""
    best = replace(TINY, name="best", scores=replace(SCORES, pr=1.0, qbe=None))
    folds = replace(TINY, name="folds", scores=replace(SCORES, er=99.0), partial={"ER": "1 fold"})
    # best wins PR before all; folds shares nine tasks and takes no part in ER.
    first, second, third = ranks([TINY, best, folds])
    assert first == pytest.approx((2.5 + 1.5 + 7 * 2 + 1.5) / 10)
    assert (second, third) == (None, None)


def test_table_is_sorted_and_complete() -> None:
    rows = by_score([TINY, *published_models()])
    table = score_table(rows, "x")
    names = [row[0] for row in table.rows]
    assert names[:2] == ["WavLM Large", "WavLM Base+"]
    assert names[-3:] == ["USAD-Small", "Interleaved stacking PROP-1", "Full L2L"]
    assert table.head == [
        "model", "role", "Parameters (M)", "MACs (G)", "PR PER ↓", "ASR WER ↓", "KS acc ↑",
        "QbE MTWV ↑", "SID acc ↑", "ASV EER ↓", "SD DER ↓", "IC acc ↑", "SF F1 ↑", "SF CER ↓",
        "ER acc ↑", "overall ↑", "superb_s ↑", "rank ↓",
    ]  # fmt: skip
    (cells,) = (row for row in table.rows if row[0] == "tiny")
    assert cells[2:9] == ["26.4", "501.6", "7.72", "9.96", "96.88", "0.0635", "65.03"]
    assert cells[-3:-1] == ["78.1", "827"]
    assert table.rows[-1][-3:] == ["–", "–", "–"]


def test_partial_numbers_say_so() -> None:
    model = replace(TINY, partial={"ER": "3 of 5 folds, without fold4, fold5"}, rtf=0.05)
    (cells,) = score_table([model], "x").rows
    assert cells[4] == "0.05"
    assert cells[-4:] == ["62.86 (3 of 5 folds, without fold4, fold5)", "–", "–", "–"]
    assert source_table([model]).rows[0][2] == "ER (3 of 5 folds, without fold4, fold5)"


def test_json_is_read_again() -> None:
    partial = replace(TINY, name="p", partial={"ER": "1 of 5 folds"}, source="s", role="baseline")
    written = as_json([TINY, partial])
    assert read_models(written, "again") == [TINY, partial]
    first, second = written["models"]
    assert (round(first["overall"], 1), round(first["superb_s"])) == (78.1, 827)
    assert first["rank"] == pytest.approx((9 * 1.5 + 1) / 10)
    assert (second["overall"], second["superb_s"], second["rank"]) == (None, None, None)
    assert second["missing"] == ["ER (1 of 5 folds)"]


def test_panels_show_what_has_score_and_cost() -> None:
    rows = [replace(TINY, rtf=0.05), replace(WORSE, rtf=0.04), *published_models()]
    labels = {panel.cost_label: [p.label for p in panel.points]
              for panel in tradeoff_panels(rows, "superb_s")}  # fmt: skip
    assert list(labels) == ["Parameters (M) ↓", "MACs (G) ↓", "RTF (CPU) ↓"]
    assert labels["RTF (CPU) ↓"] == ["tiny", "worse"]
    assert "FBANK" not in labels["Parameters (M) ↓"] + labels["MACs (G) ↓"]
    assert "USAD-Small" not in labels["Parameters (M) ↓"]
    assert "FitHuBERT" in labels["Parameters (M) ↓"]
    assert "FitHuBERT" not in labels["MACs (G) ↓"]
    assert tradeoff_panels([TINY], "overall") == []


def test_all_problems_of_a_file_come_at_once() -> None:
    entries = [
        {"name": "a", "scores": {"PR": 0.07, "QbE": 6.3}, "parameters": 26_448_448},
        {"name": "b", "skores": {}, "scores": {}},
        {"scores": {}},
        {"name": "c", "scores": {}, "role": "pupil", "macs": 5e11, "partial": {"QBE": ""}},
        7,
    ]
    with pytest.raises(ScoreError) as caught:
        read_models({"models": entries}, "RESULTS.json")
    text = str(caught.value)
    for part in (
        "RESULTS.json: 9 problem(s)",
        "a: PR PER is given in per cent",
        "a: QbE MTWV is given as a fraction",
        "a: parameters is 2.64484e+07; expected the number of parameters in millions",
        "b: unknown key skores",
        "models[2]: missing key name",
        "c: role is 'pupil'",
        "c: macs is 5e+11; expected 1e9 MACs over SUPERB's 32 utterances",
        "c: partial: unknown task QBE; did you mean QbE?",
        "models[4]: expected an object, not 7",
    ):
        assert part in text


def test_the_documented_file_is_one(tmp_path: Path) -> None:
    block = (models.__doc__ or "").partition(".. code-block:: json\n\n")[2].partition("\n\n")[0]
    (tmp_path / "RESULTS.json").write_text(textwrap.dedent(block))
    (model,) = models.load_models(tmp_path / "RESULTS.json")
    assert (model.name, model.role, model.macs, model.missing()) == (
        "student",
        "student",
        501.6,
        [],
    )


@pytest.mark.parametrize("values", [{}, {"models": []}, {"models": {"a": 1}}])
def test_a_file_without_models(values) -> None:
    with pytest.raises(ScoreError, match='no list "models"'):
        read_models(values, "RESULTS.json")


def test_namesakes() -> None:
    entry = {"name": "a", "scores": {}}
    with pytest.raises(ConfigError, match="a is there 2 times"):
        read_models({"models": [entry, entry]}, "RESULTS.json")
