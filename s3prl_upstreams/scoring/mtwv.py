"""Maximum term-weighted value (MTWV): how SUPERB scores query by example.

A trial asks whether a query occurs in a document. At a threshold, a query misses a share
``P_miss`` of the documents that hold it and is falsely found in a share ``P_fa`` of those that do
not, and ``TWV = 1 - mean over queries (P_miss + beta * P_fa)``. MTWV is its maximum over one
threshold for all queries; finding nothing at all has TWV 0.

Known from a source:

- ``score-TWV-Cnxe.sh``, the script of QUESST 2015 (2014's could not be read): P_target 0.0008,
  C_fa 1, C_miss 100, passed on as the effective prior 0.0741289, hence
  ``beta = C_fa (1 - P_target) / (C_miss P_target) = 12.49``.
- Its README: every query is scored against every document ("495 model x 10762 test"), queries
  that occur nowhere are removed first ("Removing unseen models metadata"), the third argument is
  the score of trials that the list lacks, and the output names actTWV, maxTWV and a threshold.
- SUPERB's command and the leaderboard's own code: that script, the ground truth of all types and
  languages (``groundtruth_quesst14_dev``, ``_eval``), default score -10; the number is maxTWV.
- S3PRL searches the English part only (``nnenglish``), 138 queries a split in 2438 of all
  documents; it normalises scores per query and says YES above 2.

Inferred, not read anywhere:

- As the ground truth holds all languages, queries in other languages count as missed and SUPERB's
  MTWV stays below their English share. Published thresholds near 2 and the -10, which a complete
  list would not need, speak for it. :meth:`Occurrences.restricted` scores the English part alone.
- ``P_fa`` is over documents, not over seconds as in NIST's STD 2006. A trial is a detection when
  its score is at or above the threshold; trials without a score are NO in the actual TWV.
- The original computes in single precision: expect 1e-7 of difference.

Legend: N trials with a score, Q queries that occur.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from espnet_kd.errors import DataDirError
from s3prl_upstreams.scoring.occurrences import Occurrences, read_ground_truth
from s3prl_upstreams.scoring.stdlist import STDLIST, Detections, read_stdlist

P_TARGET, C_MISS, C_FA = 0.0008, 100.0, 1.0
"""Prior and costs of QUESST."""

BETA = C_FA * (1 - P_TARGET) / (C_MISS * P_TARGET)
"""Weight of a false alarm against a miss: 12.49."""

DEFAULT_SCORE = -10.0
"""What SUPERB's command gives trials that the list lacks."""

_SHOWN = 5
_ABSENT = -1

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TermWeightedValue:
    """Fractions, not percent; SUPERB's tables print ``maximum`` (0.0736)."""

    maximum: float
    """MTWV."""
    threshold: float
    """Lowest score that still is a detection at the maximum; infinite = nothing is detected."""
    miss: float
    """Mean P_miss there."""
    false_alarm: float
    """Mean P_fa there."""
    actual: float
    """TWV of the system's own YES and NO."""
    queries: int
    """Queries that count."""
    unseen: tuple[str, ...]
    """Queries left out because they occur in no document."""
    given: int
    """Trials with a score of their own."""
    defaulted: int
    """Trials with the default score."""

    def line(self) -> str:
        """Say it in one line."""
        return (
            f"MTWV {self.maximum:.4f} at {self.threshold:.4f} (P_miss {self.miss:.3f}, P_fa "
            f"{self.false_alarm:.5f}), actual TWV {self.actual:.4f}, {self.queries} queries"
        )


def score_experiment(
    experiment: str | Path,
    ground_truth: str | Path,
    default_score: float | None = DEFAULT_SCORE,
) -> TermWeightedValue:
    """Score ``benchmark.stdlist.xml`` of a QbE run as SUPERB's command does.

    Args:
        experiment: folder of the run.
        ground_truth: QUESST's folder, such as ``scoring/groundtruth_quesst14_eval``.
        default_score: for trials that the list lacks; None = refuse a list that lacks any.

    Raises:
        DataDirError: a file is missing or wrong, see :func:`term_weighted_value`.
    """
    detections = read_stdlist(Path(experiment) / STDLIST)
    return term_weighted_value(detections, read_ground_truth(ground_truth), default_score)


def term_weighted_value(
    detections: Detections,
    truth: Occurrences,
    default_score: float | None = None,
    beta: float = BETA,
) -> TermWeightedValue:
    """Return the maximum and the actual term-weighted value.

    Args:
        detections: scores of trials.
        truth: all queries, all documents, and where what occurs.
        default_score: for trials without a score; None = every trial needs one.
        beta: weight of false alarms.

    Raises:
        DataDirError: names queries and documents that one side lacks; or no query occurs
            anywhere, or one occurs everywhere.
    """
    _check_names(detections, truth, default_score)
    counts_Q = _counts(truth)
    kept_N, target_N, query_N = _align(detections, truth, counts_Q)
    miss_Q = 1.0 / np.array(list(counts_Q.values()))
    alarm_Q = 1.0 / (len(truth.documents) - np.array(list(counts_Q.values())))
    hit_N = np.where(target_N, miss_Q[query_N], 0.0) / len(counts_Q)
    false_N = np.where(target_N, 0.0, alarm_Q[query_N]) / len(counts_Q)

    score_N, decision_N = detections.score_N[kept_N], detections.decision_N[kept_N]
    if default_score is not None:  # all trials without a score come and go together
        score_N = np.append(score_N, default_score)
        hit_N, false_N = np.append(hit_N, 1 - hit_N.sum()), np.append(false_N, 1 - false_N.sum())
        decision_N = np.append(decision_N, False)
    hits, alarms, threshold = _best_threshold(score_N, hit_N, false_N, beta)
    given, trials = int(kept_N.sum()), len(counts_Q) * len(truth.documents)
    return TermWeightedValue(
        maximum=hits - beta * alarms,
        threshold=threshold,
        miss=1.0 - hits,
        false_alarm=alarms,
        actual=float(hit_N[decision_N].sum() - beta * false_N[decision_N].sum()),
        queries=len(counts_Q),
        unseen=tuple(name for name in truth.queries if name not in counts_Q),
        given=given,
        defaulted=trials - given,
    )


def _best_threshold(
    score_N: Floats, hit_N: Floats, false_N: Floats, beta: float
) -> tuple[float, float, float]:
    """Mean hit rate, mean P_fa and the threshold where their difference is largest.

    Equal scores are detected together; of equal maxima the highest threshold counts.
    """
    order = np.argsort(-score_N, kind="stable")
    sorted_N = score_N[order]
    last = np.flatnonzero(np.append(sorted_N[1:] != sorted_N[:-1], True))
    hits = np.concatenate([[0.0], hit_N[order].cumsum()[last]])
    alarms = np.concatenate([[0.0], false_N[order].cumsum()[last]])
    best = int(np.argmax(hits - beta * alarms))
    threshold = np.inf if best == 0 else sorted_N[last[best - 1]]
    return float(hits[best]), float(alarms[best]), float(threshold)


def _counts(truth: Occurrences) -> dict[str, int]:
    """Query -> in how many documents it occurs; only those that do, in their order."""
    counts = dict.fromkeys(truth.queries, 0)
    for query, _ in truth.pairs:
        counts[query] += 1
    counts = {name: count for name, count in counts.items() if count}
    if not counts:
        raise DataDirError("no query of the ground truth occurs in any document: nothing to score")
    everywhere = [name for name, count in counts.items() if count == len(truth.documents)]
    if everywhere:
        raise DataDirError(
            f"{len(everywhere)} query name(s) occur in all {len(truth.documents)} documents "
            f"({_some(everywhere)}): there is no false alarm to measure; leave them out"
        )
    return counts


def _align(
    detections: Detections, truth: Occurrences, counts_Q: dict[str, int]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.int64]]:
    """Which trials count, and for those: whether they are true, and their query among Q."""
    rows = {name: row for row, name in enumerate(counts_Q)}
    row_of = np.array([rows.get(name, _ABSENT) for name in detections.queries])
    row_N = row_of[detections.query_N]
    query_at = {name: index for index, name in enumerate(detections.queries)}
    document_at = {name: index for index, name in enumerate(detections.documents)}
    width = len(detections.documents)
    true_codes = np.array(
        [
            query_at[query] * width + document_at[document]
            for query, document in truth.pairs
            if query in query_at and document in document_at
        ],
        dtype=np.int64,
    )
    target_N = np.isin(detections.query_N * width + detections.document_N, true_codes)
    kept_N = row_N != _ABSENT
    return kept_N, target_N[kept_N], row_N[kept_N]


def _check_names(detections: Detections, truth: Occurrences, default_score: float | None) -> None:
    """Both sides must speak of the same queries and documents; all that lack are named at once."""
    problems = []
    for what, scored, true in (
        ("query", detections.queries, truth.queries),
        ("document", detections.documents, truth.documents),
    ):
        extra = _lacking(scored, true)
        if extra:
            problems.append(f"{len(extra)} {what} name(s) not in the ground truth: {_some(extra)}")
        missing = _lacking(true, scored)
        if missing and default_score is None:
            problems.append(f"{len(missing)} {what} name(s) without scores: {_some(missing)}")
    trials = len(truth.queries) * len(truth.documents)
    if not problems and default_score is None and len(detections) != trials:
        problems.append(f"{trials - len(detections)} of {trials} trials have no score")
    if problems:
        raise DataDirError(
            "scores and ground truth do not match: " + "; ".join(problems) + ". Search the set "
            "that is scored, or give a default score (SUPERB: -10) for trials without one"
        )


def _lacking(names: Iterable[str], known: Iterable[str]) -> list[str]:
    there = set(known)
    return [name for name in names if name not in there]


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
