"""Whatever JSON a results or score file holds: a table's row, or one of our errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from espnet_kd.errors import KDError
from espnet_kd.evaluation.superb.experiments import read_experiment
from espnet_kd.evaluation.superb.metrics import METRICS, TASKS
from espnet_kd.evaluation.superb.models import Model, read_models
from espnet_kd.evaluation.superb.table import as_json, by_score, score_table
from tests.unit.evaluation.superb_made_up import score, write_score

NAMES = ("PER", "accuracy", "MTWV", "slot_type_f1", "value", "unit", "XYZ")
ATOMS = st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | st.text()
ANY = st.recursive(ATOMS, lambda x: st.lists(x) | st.dictionaries(st.sampled_from(NAMES), x))
KEYS = [*Model.__dataclass_fields__, "overall", "x"]
ENTRY = ANY | st.fixed_dictionaries(
    {"name": st.text(min_size=1), "scores": st.dictionaries(st.sampled_from([*TASKS, "x"]), ANY)},
    optional={key: ANY for key in KEYS if key not in ("name", "scores")},
)


@given(st.fixed_dictionaries({"models": st.lists(ENTRY, max_size=3) | ANY}))
@settings(max_examples=50)
def test_results_files(values) -> None:
    try:
        models = by_score(read_models(json.loads(json.dumps(values)), "RESULTS.json"))
    except KDError:
        return
    assert len(score_table(models, "x").rows) == len(models)
    assert read_models(json.loads(json.dumps(as_json(models))), "again") == models


@given(st.dictionaries(st.sampled_from([*score("PR", "PER", 7.0), "more"]), ANY))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_score_files(tmp_path: Path, changes) -> None:
    write_score(tmp_path / "pr", {**score("PR", "PER", 7.0), **changes})
    try:
        experiment = read_experiment("tiny", tmp_path)
    except KDError:
        return
    assert experiment.found or experiment.passed_over


@given(st.dictionaries(st.sampled_from(METRICS), st.floats(0, 1)))
def test_what_was_read_is_read_again(shares) -> None:
    """Also values that look like another unit."""
    nested: dict[str, dict[str, object]] = {}
    for metric, share in shares.items():
        stated = {"value": share * metric.most, "unit": metric.unit}
        nested.setdefault(metric.task, {})[metric.name] = stated
    (model,) = read_models({"models": [{"name": "a", "scores": nested}]}, "x")
    assert read_models(as_json([model]), "again") == [model]
    for metric, share in shares.items():
        assert model.scores.value(metric) == pytest.approx(share * metric.most)
