"""The benchmark of the ASR head runs from end to end, far too small to measure anything."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import espnet_kd
from s3prl_upstreams.configs import default_config

pytestmark = pytest.mark.integration

FOLDER = Path(__file__).resolve().parents[3] / "benchmarks"


@pytest.fixture
def asr_head(monkeypatch, student):
    """The benchmark with a tiny student and head, without its memory processes."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(FOLDER))
    module = importlib.import_module("asr_head")

    def small_config(task):
        config = default_config(task)
        modelrc = config["downstream_expert"]["modelrc"]
        modelrc["project_dim"], modelrc["RNNs"]["dim"] = 8, [8, 8]
        config["specaug"]["freq_mask_width_range"] = [0, 4]
        return config

    encoder = SimpleNamespace(from_config=lambda _: espnet_kd.load_model(student))
    monkeypatch.setattr(module, "SpeechEncoder", encoder)
    monkeypatch.setattr(module, "default_config", small_config)
    monkeypatch.setattr(module, "UTTERANCES", 2)
    monkeypatch.setattr(module, "WIDTH", 8)
    monkeypatch.setattr(module.common, "memory_in_fresh_process", lambda *_: 1.0)
    yield module
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(FOLDER)):
            del sys.modules[name]


def test_all_steps_have_one_loss(asr_head, monkeypatch, capsys, tmp_path):
    figures = tmp_path / "figures.json"
    words = ["asr_head", "--seconds", "0.5", "--runs", "1", "--json", str(figures)]
    monkeypatch.setattr(sys, "argv", words)
    asr_head.main()
    lines = [line for line in capsys.readouterr().out.splitlines() if "first step" in line]
    layer, step = ([float(part.split()[-2]) for part in line.split("),")] for line in lines)
    assert layer == pytest.approx([layer[0]] * 2, rel=1e-4)
    assert step == pytest.approx([step[0]] * 3, rel=1e-4)
    rows = json.loads(figures.read_text())["rows"]
    assert [row["what"] for row in rows[2:]] == [asr_head.STOCK, asr_head.QUICK, asr_head.MEMORY]
    assert {row["case"] for row in rows} == {"BiLSTM alone, 2 × 0.5 s", "step, 2 × 0.5 s"}
