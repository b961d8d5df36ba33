"""Thresholds, quantiles, and reasons."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espnet_kd.errors import ConfigError
from espnet_kd.filtering import Limit, decide
from espnet_kd.filtering.decide import Cut, make_cut
from espnet_kd.whisper.wer_filter import Score

WER = Cut("wer", False, 80.0)
CONF = Cut("conf", True, 0.5)


def scores(wer: float | None, conf: float | None) -> dict[str, Score]:
    return {"wer": Score(wer, "" if wer is not None else "no reference"), "conf": Score(conf)}


def test_threshold_is_strict_in_both_directions():
    assert not WER.passes(80.0)
    assert WER.passes(79.9)
    assert not CONF.passes(0.5)
    assert CONF.passes(0.51)
    assert not CONF.passes(None)


@pytest.mark.parametrize(
    ("wer", "conf", "combine", "kept", "reason", "failed"),
    [
        (10, 0.9, "all", True, "wer 10 < 80; conf 0.9 > 0.5", ()),
        (10, 0.1, "all", False, "conf 0.1 <= 0.5", ("conf",)),
        (90, 0.1, "all", False, "wer 90 >= 80; conf 0.1 <= 0.5", ("wer", "conf")),
        (10, 0.1, "any", True, "wer 10 < 80", ("conf",)),
        (None, 0.9, "any", True, "conf 0.9 > 0.5", ("wer",)),
        (None, 0.9, "all", False, "wer: no reference", ("wer",)),
        (90, 0.1, "any", False, "wer 90 >= 80; conf 0.1 <= 0.5", ("wer", "conf")),
    ],
)
def test_all_or_any(wer, conf, combine, kept, reason, failed):
    decision = decide("u", "", [WER, CONF], scores(wer, conf), combine)
    assert (decision.kept, decision.reason, decision.failed) == (kept, reason, failed)


def test_a_check_comes_first_and_scores_are_kept():
    decision = decide("u", "empty label", [WER], scores(0.0, 0.9))
    assert (decision.kept, decision.reason, decision.failed) == (False, "empty label", ("check",))
    assert decision.scores == {"wer": 0.0, "conf": 0.9}


@pytest.mark.parametrize("combine", ["all", "any"])
def test_without_limits_everything_that_passes_the_checks_is_kept(combine):
    assert decide("u", "", [], {}, combine).kept


VALUES = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=30)


@given(VALUES, st.floats(0.01, 1), st.booleans())
def test_quantile_keeps_the_best_share_and_ties(values, share, higher):
    cut = make_cut(Limit("m", share, True), higher, [Score(v) for v in values])
    kept = [v for v in values if cut.passes(v)]
    dropped = [v for v in values if not cut.passes(v)]
    assert len(kept) >= share * len(values) - 1e-5
    if kept and dropped:
        assert min(kept) > max(dropped) if higher else max(kept) < min(dropped)
    # No more than the share asks for, but for those that tie with the worst that is kept.
    worst = min(kept) if higher else max(kept)
    assert len([v for v in kept if v != worst]) < share * len(values) + 1e-5


def test_quantile_counts_scored_labels_only():
    found = [Score(1.0), Score(2.0), Score(None)]
    assert make_cut(Limit("m", 0.5, True), False, found).threshold == 1.0


def test_quantile_is_not_off_by_a_rounding_error():
    found = [Score(float(i)) for i in range(100)]
    assert make_cut(Limit("m", 0.07, True), False, found).threshold == 6.0


def test_inclusive_cut_is_described_as_such():
    cut = Cut("m", False, 2.0, inclusive=True)
    assert cut.describe(Score(2.0)) == "m 2 <= 2"
    assert cut.describe(Score(3.0)) == "m 3 > 2"


@pytest.mark.parametrize(
    ("share", "found", "message"),
    [(1.5, [Score(1.0)], "1.5 is no share"), (0.5, [Score(None)], "no label has a score")],
)
def test_quantiles_that_make_no_sense(share, found, message):
    with pytest.raises(ConfigError, match=message):
        make_cut(Limit("m", share, True), True, found)
