"""Published SUPERB rows: every printed score comes out at its printed precision."""

from __future__ import annotations

import math

import pytest

from espnet_kd.errors import ScoreError
from espnet_kd.evaluation.superb.metrics import METRICS
from espnet_kd.evaluation.superb.models import Model, Printed
from espnet_kd.evaluation.superb.published import choose_published, published_models
from espnet_kd.evaluation.superb.scores import Scores, overall, superb_s

ROWS = {model.name: model for model in published_models()}
PRINTED = [(row, printed) for row in ROWS.values() for printed in row.printed]

# Both scores of the rows that have all tasks, computed apart from this code.
TABLE = {
    "FBANK": ("46.53", "0"),
    "HuBERT Base": ("80.80", "941"),
    "WavLM Base": ("81.89", "1019"),
    "WavLM Base+": ("83.33", "1106"),
    "WavLM Large": ("84.77", "1145"),
    "LightHuBERT-S": ("79.11", "901"),
    "DistilHuBERT": ("75.93", "717"),
    "FitHuBERT": ("74.48", "685"),
    "FitW2V2": ("76.5", "766"),
    "12-L Half L2L": ("77.6", "807"),
    "MaskHuBERT": ("77.84", "837"),
    "ARMHuBERT": ("78.11", "827"),
    "ARMHuBERT-S": ("77.55", "829"),
    "ARMwavLM-S": ("78.90", "852"),
    "DPHuBERT": ("78.90", "866"),
    "DPWavLM": ("80.24", "926"),
    "STaRHuBERT": ("79.5", "887"),
    "STaRHuBERT-L": ("79.8", "896"),
    "ARMHuBERT-S (100 h)": ("76.8", "801"),
    "DPHuBERT (100 h)": ("77.7", "821"),
    "STaRHuBERT (100 h)": ("77.8", "832"),
}
INCOMPLETE = {"USAD-Small", "Interleaved stacking PROP-1", "Full L2L"}


def rounded(value: float, like: str) -> str:
    return f"{value:.{len(like.partition('.')[2])}f}"


@pytest.mark.parametrize("name", TABLE)
def test_scores_of_complete_rows(name: str) -> None:
    model = ROWS[name]
    found = model.overall(), model.superb_s()
    assert tuple(map(rounded, found, TABLE[name])) == TABLE[name]


def test_rows_that_lack_tasks_are_kept_without_scores() -> None:
    assert set(ROWS) == set(TABLE) | INCOMPLETE
    for name in INCOMPLETE:
        assert ROWS[name].missing()
        assert ROWS[name].overall() is None
        assert ROWS[name].superb_s() is None
    lacks = "QbE MTWV, ASV EER, SF slot_type_f1, SF slot_value_cer"
    assert ", ".join(ROWS["USAD-Small"].missing()) == lacks


@pytest.mark.parametrize(
    ("row", "printed"), PRINTED, ids=[f"{r.name}-{p.by}-{p.score}" for r, p in PRINTED]
)
def test_printed_scores(row: Model, printed: Printed) -> None:
    value = getattr(row, printed.score)()
    texts = {
        "rounded": rounded(value, printed.text),
        "truncated": str(math.floor(value)),
    }
    if printed.digits == "differs":
        assert printed.text not in texts.values(), "no exception any more: say which rule holds"
    else:
        assert texts[printed.digits] == printed.text


def test_the_exceptions_are_these() -> None:
    """Rounding is the rule; only the STaR table deviates from it, and is written down as such."""
    odd = {(row.name, p.text, p.digits) for row, p in PRINTED if p.digits != "rounded"}
    assert odd == {
        ("ARMHuBERT-S", "828", "truncated"),
        ("STaRHuBERT", "887", "truncated"),
        ("STaRHuBERT-L", "896", "truncated"),
        ("ARMHuBERT-S (100 h)", "800", "truncated"),
        ("STaRHuBERT (100 h)", "831", "truncated"),
        ("DPHuBERT (100 h)", "819", "differs"),
    }
    assert {p.by for _, p in PRINTED if p.digits != "rounded"} == {"star"}
    assert rounded(ROWS["DPHuBERT (100 h)"].superb_s() or 0, "0.0") == "820.6"
    assert len(PRINTED) == 26


def test_lighthubert_in_its_two_versions() -> None:
    """Another source has a WER of 8.33: the printed scores are the same."""
    nested = ROWS["LightHuBERT-S"].scores.nested()
    nested["ASR"]["WER"] = 8.33
    scores = Scores.from_nested(nested)
    assert rounded(overall(scores), "0.0") == "79.1"
    assert rounded(superb_s(scores), "0") == "901"


def test_another_row_of_filter_banks() -> None:
    """What the ARMHuBERT paper prints for filter banks: overall 40.5, and no base of superb_s."""
    odd = {"KS": 8.63, "ER": 35.39, "IC": 9.1, "SD": 10.55, "SID": {"value": 8.5e-4, "unit": "%"}}
    scores = Scores.from_nested({**ROWS["FBANK"].scores.nested(), **odd})
    assert rounded(overall(scores), "0.0") == "40.5"
    assert superb_s(scores) < -100


def test_the_score_for_sid_in_prose_would_be_wrong() -> None:
    """90.33 instead of 90.3 breaks WavLM Large's printed 1145."""
    (sid,) = (metric for metric in METRICS if metric.field == "sid")
    value = ROWS["WavLM Large"].scores.sid
    assert value is not None
    score = ROWS["WavLM Large"].superb_s()
    assert score is not None
    changed = score + 100 * ((value - sid.base) / (90.33 - sid.base) - sid.gain(value))
    assert (round(score), round(changed)) == (1145, 1144)


def test_sources_and_costs() -> None:
    assert all(row.source and row.role == "published" for row in ROWS.values())
    assert all(row.parameters is not None for row in ROWS.values())
    assert ROWS["DPWavLM"].source.startswith("DPHuBERT repository")
    macs = {"LightHuBERT-S": 860.7, "DPHuBERT": 654.1, "DPWavLM": 589.2, "STaRHuBERT-L": 511.9}
    assert {name: ROWS[name].macs for name in macs} == macs


def test_rows_can_be_chosen() -> None:
    assert len(choose_published(["yes"])) == len(ROWS)
    assert choose_published(["no"]) == []
    chosen = choose_published(["dphubert", "HuBERT Base", "DPHuBERT"])
    assert [row.name for row in chosen] == ["DPHuBERT", "HuBERT Base"]
    with pytest.raises(ScoreError, match="no row DPHubrt; did you mean DPHuBERT") as caught:
        choose_published(["DPHubrt", "X"])
    assert len(caught.value.problems) == 2
