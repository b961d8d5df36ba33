"""The benchmark of the feature cache, with a student too small to measure anything."""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.s3prl.conftest import tiny_student

pytestmark = pytest.mark.integration

FOLDER = Path(__file__).resolve().parents[3] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(FOLDER))
    before = set(sys.modules)
    module = importlib.import_module("superb_cache")
    monkeypatch.setattr(module, "architecture", lambda _name: tiny_student().config)
    small = {
        name: replace(case, utterances=(case.batch, 2, 2)) for name, case in module.CASES.items()
    }
    monkeypatch.setattr(module, "CASES", small)
    yield module
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(FOLDER)):
            del sys.modules[name]


def test_both_sides_give_the_same_weights(benchmark, monkeypatch, capsys):
    tasks = ["PR", "KS", "SID", "IC", "ER", "SD"]
    options = ["--tasks", *tasks, "--epochs", "2", "--json", "figures.json"]
    monkeypatch.setattr(sys, "argv", ["superb_cache", *options])
    benchmark.main()
    rows = json.loads(Path("figures.json").read_text())["rows"]
    assert {row["case"].split(",")[0] for row in rows} == set(tasks)
    for row in rows:
        assert "crops" in row["what"] or row["difference"] < 1e-2, row["case"]
    printed = capsys.readouterr().out
    assert all(f"{task}, 2 epochs: " in printed for task in tasks)
    assert printed.count(" times faster, goal ") == len(tasks)
