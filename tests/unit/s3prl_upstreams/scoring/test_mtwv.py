from __future__ import annotations

import numpy as np
import pytest

from espnet_kd.errors import DataDirError
from s3prl_upstreams.scoring.mtwv import BETA, score_experiment, term_weighted_value
from s3prl_upstreams.scoring.occurrences import Occurrences
from s3prl_upstreams.scoring.stdlist import Detections


def detections(score_QD, decision_QD=None, keep_QD=None):
    """Scores of queries q0, q1... in documents d0, d1..."""
    score_QD = np.asarray(score_QD, dtype=np.float64)
    decided = score_QD > 2.0 if decision_QD is None else np.asarray(decision_QD, dtype=bool)
    keep = np.ones(score_QD.shape, dtype=bool) if keep_QD is None else keep_QD
    query_N, document_N = np.nonzero(keep)
    queries, documents = names(score_QD)
    return Detections(
        queries, documents, query_N, document_N, score_QD[keep], decided[keep]
    )  # fmt: skip


def names(matrix):
    height, width = np.shape(matrix)
    return tuple(f"q{i}" for i in range(height)), tuple(f"d{i}" for i in range(width))


def truth(target_QD):
    queries, documents = names(target_QD)
    found = zip(*np.nonzero(target_QD), strict=True)
    return Occurrences(queries, documents, frozenset((f"q{q}", f"d{d}") for q, d in found))


def by_hand(score_QD, target_QD, threshold, beta=BETA):
    """TWV at one threshold, query by query."""
    losses = []
    for scores, targets in zip(score_QD, target_QD, strict=True):
        if targets.any():
            detected = scores >= threshold
            missed = (targets & ~detected).sum() / targets.sum()
            false = (~targets & detected).sum() / (~targets).sum()
            losses.append(missed + beta * false)
    return 1 - np.mean(losses)


def test_beta_is_quessts():
    assert pytest.approx(12.49, abs=1e-12) == BETA
    prior = 1 / (1 + BETA)
    assert prior == pytest.approx(0.0741289, abs=1e-7), "what the script passes on"


def test_a_small_case():
    # q0 is in d0 and d1, q1 in d2; documents: 4.
    scores = [[5.0, 1.0, 3.0, 0.0], [2.5, 0.5, 4.0, 0.2]]
    targets = [[1, 1, 0, 0], [0, 0, 1, 0]]
    value = term_weighted_value(detections(scores), truth(targets), beta=1.0)
    # At 4: q0 finds 1 of 2, q1 finds 1 of 1, no false alarm: 1 - (0.5 + 0) / 2.
    assert (value.maximum, value.threshold) == (pytest.approx(0.75), 4.0)
    assert (value.miss, value.false_alarm) == (pytest.approx(0.25), 0.0)
    # YES above 2: q0 1 of 2 and 1 of 2 others falsely, q1 found and 1 of 3 others falsely.
    assert value.actual == pytest.approx(1 - (0.5 + 1 / 2 + 1 / 3) / 2)
    assert (value.queries, value.unseen, value.given, value.defaulted) == (2, (), 8, 0)
    assert value.line().startswith("MTWV 0.7500 at 4.0000 (P_miss 0.250, P_fa 0.00000)")


def test_decisions_are_the_systems_own():
    scores, targets = [[5.0, 1.0, 3.0]], [[1, 0, 0]]
    value = term_weighted_value(detections(scores, [[0, 1, 0]]), truth(targets), beta=3.0)
    assert value.actual == pytest.approx(1 - (1 + 3 * 0.5))
    assert value.maximum == 1.0


def test_equal_scores_come_together():
    targets = truth([[1, 0, 0, 0]])
    tied = term_weighted_value(detections([[2.0, 2.0, 1.0, 0.0]]), targets, beta=1.5)
    assert (tied.maximum, tied.threshold) == (pytest.approx(1 - 1.5 / 3), 2.0)
    # Of equally good thresholds the highest.
    same = term_weighted_value(detections([[3.0, 0.0, 1.0, 2.0]]), targets, beta=0.0)
    assert (same.maximum, same.threshold) == (1.0, 3.0)


def test_finding_nothing_is_worth_zero():
    value = term_weighted_value(detections([[0.0, 5.0, 4.0]]), truth([[1, 0, 0]]))
    assert (value.maximum, value.threshold, value.miss) == (0.0, np.inf, 1.0)


def test_a_query_without_occurrence_is_left_out():
    scores = [[9.0, 8.0, 7.0], [1.0, 3.0, 0.0]]
    value = term_weighted_value(detections(scores), truth([[0, 0, 0], [0, 1, 0]]))
    assert (value.maximum, value.threshold) == (1.0, 3.0)
    assert (value.queries, value.unseen, value.given) == (1, ("q0",), 3)


@pytest.mark.parametrize("seed", range(10))
def test_brute_force_over_thresholds(seed):
    rng = np.random.default_rng(seed)
    shape = int(rng.integers(2, 8)), int(rng.integers(5, 60))
    targets = rng.random(shape) < 0.1
    targets[0, 0], targets[:, -1] = True, False
    scores = (rng.normal(size=shape) + 2 * targets).round(1)  # with ties
    beta = float(rng.choice([0.5, 3.0, BETA]))
    value = term_weighted_value(detections(scores), truth(targets), beta=beta)
    thresholds = [*np.unique(scores), np.inf]
    values = [by_hand(scores, targets, threshold, beta) for threshold in thresholds]
    assert value.maximum == pytest.approx(max(values), abs=1e-12)
    assert by_hand(scores, targets, value.threshold, beta) == pytest.approx(max(values), abs=1e-12)
    assert value.actual == pytest.approx(by_hand(scores, targets, 2.0001, beta), abs=1e-12)
    assert value.maximum == pytest.approx(1 - value.miss - beta * value.false_alarm, abs=1e-12)


@pytest.mark.parametrize("default", [-10.0, 0.5])
def test_trials_without_a_score_get_the_default(default):
    rng = np.random.default_rng(3)
    shape = (6, 40)
    targets = rng.random(shape) < 0.15
    targets[:, 0], targets[:, 1] = True, False
    scores = (rng.normal(size=shape) + 3 * targets).round(2)
    keep = np.zeros(shape, dtype=bool)
    keep[:4, :30] = True  # as S3PRL, which searches the English part only
    part = detections(scores, keep_QD=keep)
    part = Detections(
        part.queries[:4], part.documents[:30], part.query_N, part.document_N, part.score_N,
        part.decision_N,
    )  # fmt: skip
    value = term_weighted_value(part, truth(targets), default, beta=1.0)
    filled = np.where(keep, scores, default)
    values = [by_hand(filled, targets, threshold, 1.0) for threshold in [*np.unique(filled), 99]]
    assert value.maximum == pytest.approx(max(values), abs=1e-12)
    assert (value.queries, value.given, value.defaulted) == (6, 120, 120)
    own = np.where(keep & (scores > 2.0), 1.0, 0.0)
    assert value.actual == pytest.approx(by_hand(own, targets, 0.5, 1.0), abs=1e-12)
    with pytest.raises(DataDirError, match=r"2 query .* scores: q4, q5; 10 document .* and 5 more"):
        term_weighted_value(part, truth(targets))


def test_strangers_and_gaps_are_named():
    found = detections([[1.0, 2.0], [3.0, 4.0]])
    with pytest.raises(DataDirError, match=r"1 document name\(s\) not in the ground truth: d1"):
        term_weighted_value(found, Occurrences(("q0", "q1"), ("d0",), frozenset()), -10.0)
    with pytest.raises(DataDirError, match=r"1 query name\(s\) not in the ground truth: q1"):
        term_weighted_value(found, Occurrences(("q0",), ("d0", "d1"), frozenset()))
    gap = detections([[1.0, 2.0], [3.0, 4.0]], keep_QD=np.array([[True, True], [True, False]]))
    with pytest.raises(DataDirError, match="1 of 4 trials have no score"):
        term_weighted_value(gap, truth([[1, 0], [0, 1]]))


def test_nothing_to_measure():
    with pytest.raises(DataDirError, match="no query of the ground truth occurs"):
        term_weighted_value(detections([[1.0, 2.0]]), truth([[0, 0]]))
    with pytest.raises(DataDirError, match=r"occur in all 2 documents \(q0\)"):
        term_weighted_value(detections([[1.0, 2.0]]), truth([[1, 1]]))


def test_files_as_superbs_command_reads_them(tmp_path):
    terms = "".join(
        f'<term file="d{d}" channel="1" score="{score}" decision="{"YES" if score > 2 else "NO"}"/>'
        for d, score in enumerate([4.0, 1.5, 0.0])
    )
    experiment, folder = tmp_path / "exp", tmp_path / "groundtruth_quesst14_dev"
    experiment.mkdir()
    folder.mkdir()
    (experiment / "benchmark.stdlist.xml").write_text(
        f'<stdlist><detected_termlist termid="q0">{terms}</detected_termlist></stdlist>'
    )
    queries = "".join(f'<term termid="q{q}"><termtext>q{q}</termtext></term>' for q in range(2))
    excerpts = "".join(f'<excerpt audio_filename="Audio/d{d}.wav"/>' for d in range(5))
    (folder / "quesst14_dev.tlist.xml").write_text(f"<termlist>{queries}</termlist>")
    (folder / "quesst14.ecf.xml").write_text(f"<ecf>{excerpts}</ecf>")
    (folder / "quesst14_dev.rttm").write_text(
        "LEXEME d0 1 0 1 q0 lex x <NA>\nLEXEME d4 1 0 1 q0 lex x <NA>\nLEXEME d3 1 0 1 q1 lex x\n"
    )
    value = score_experiment(experiment, folder)
    assert (value.maximum, value.threshold, value.actual) == (0.25, 4.0, 0.25)
    assert (value.queries, value.given, value.defaulted) == (2, 3, 7)
    with pytest.raises(DataDirError, match=r"1 query name\(s\) without scores: q1"):
        score_experiment(experiment, folder, default_score=None)
