"""How well a measure ranks labels, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from espnet_kd.errors import DataDirError
from espnet_kd.evaluation.auc import (
    Ranking,
    auc_records,
    auc_table,
    make_ranking,
    plot_auc,
)

WER = {"a": 0.0, "b": 10.0, "c": 50.0, "d": 100.0, "e": None}


def ranking(**quality: float) -> Ranking:
    return make_ranking("m", WER, quality, higher_is_better=True)


def test_auc_is_the_share_of_pairs_in_order():
    # Good (WER < 20): a, b; bad: c, d. Pairs in order: (a,c), (a,d), (b,d), and half a tie (b,c).
    assert ranking(a=4, b=2, c=2, d=1).auc(20) == pytest.approx(3.5 / 4)


def test_threshold_is_strict():
    found = ranking(a=3, b=1, c=2, d=0)
    assert found.auc(10) == 1.0  # only a is below 10
    assert found.auc(10.1) == pytest.approx(3 / 4)


def test_lower_is_better_is_turned_round():
    scores = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0}
    assert make_ranking("m", WER, scores, higher_is_better=False).auc(20) == 1.0
    assert make_ranking("m", WER, scores, higher_is_better=True).auc(20) == 0.0


def test_only_utterances_with_both_count():
    found = make_ranking("m", WER, {"a": 1.0, "d": None, "e": 2.0, "x": 1.0}, higher_is_better=True)
    assert found.wer.tolist() == [0.0]


def test_one_class_has_no_auc():
    assert ranking(a=1, b=2).auc(20) is None
    assert "–" in auc_table([ranking(a=1, b=2)])


def test_nothing_to_evaluate():
    with pytest.raises(DataDirError, match="no utterance has a reference and a score"):
        make_ranking("m", WER, {"e": 1.0}, higher_is_better=True)


def test_coverage_is_the_mean_wer_of_the_best():
    share, mean = ranking(a=4, b=3, c=2, d=1).coverage()
    np.testing.assert_allclose(share, [0.25, 0.5, 0.75, 1.0])
    np.testing.assert_allclose(mean, [0.0, 5.0, 20.0, 40.0])


def test_table_and_records():
    found = ranking(a=4, b=3, c=2, d=1)
    assert "| m | 4 | 1.000 | 1.000 | 1.000 | 40.0 | 5.0 |" in auc_table([found])
    assert auc_records([found], [20]) == [{"measure": "m", "utterances": 4, "auc": {"20": 1.0}}]


def test_plot(tmp_path):
    random = np.random.default_rng(0)
    wer = random.uniform(0, 120, 50)
    rankings = [Ranking(name, wer, random.normal(size=50) - wer / 50) for name in ("conf", "proxy")]
    plot_auc(rankings, tmp_path / "auc.png")
    assert (tmp_path / "auc.png").read_bytes().startswith(b"\x89PNG")


def test_plot_of_one_class(tmp_path):
    plot_auc([ranking(a=1, b=2)], tmp_path / "auc.png", [20])
    assert (tmp_path / "auc.png").is_file()
