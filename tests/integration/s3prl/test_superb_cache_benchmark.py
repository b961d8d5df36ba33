"""The benchmark of the feature cache, with a student too small to measure anything."""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from s3prl_upstreams.expert import UpstreamExpert as load_student
from tests.integration.s3prl.conftest import tiny_student

pytestmark = pytest.mark.integration

FOLDER = Path(__file__).resolve().parents[3] / "benchmarks"


def tiny_config():
    config = tiny_student().config
    layers = [config.layers[0]] * 4
    return config.replace(layers=layers, head_dim=0, hidden_states="layers", mask_embedding=False)


@pytest.fixture
def benchmark(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(FOLDER))
    before = set(sys.modules)
    module = importlib.import_module("superb_cache")
    monkeypatch.setattr(module, "architecture", lambda _name: tiny_config())
    small = {
        name: replace(case, utterances=(case.batch, 2, 2)) for name, case in module.CASES.items()
    }
    monkeypatch.setattr(module, "CASES", small)
    yield module
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(FOLDER)):
            del sys.modules[name]


@torch.no_grad()
@pytest.mark.parametrize("norm", ["layer_norm", "group_norm"])
def test_a_student_in_the_code_of_s3prl(benchmark, norm, tmp_path):
    from s3prl.upstream.wav2vec2.expert import UpstreamExpert

    student = benchmark.save_student("tiny", norm, tmp_path / "student")
    wavs = [torch.randn(size) for size in (16000, 9000, 12345)]
    stock = UpstreamExpert(str(student.file)).eval()(wavs)["hidden_states"]
    ours = load_student(str(student.folder)).eval()(wavs)["hidden_states"]
    assert len(ours) == len(stock) == 5
    for row, wav in enumerate(wavs):
        frames = round(len(wav) / 320) - 1
        for one, other in zip(ours, stock, strict=True):
            torch.testing.assert_close(one[row, :frames], other[row, :frames], atol=2e-5, rtol=1e-4)
    with pytest.raises(ValueError, match="has no armhubert like this one"):
        benchmark.save_for_s3prl(tiny_student(), tmp_path / "reused.pt")


def test_all_sides_give_the_same_weights(benchmark, monkeypatch, capsys):
    tasks = ["PR", "KS", "SID", "IC", "ER", "SD"]
    options = ["--tasks", *tasks, "--epochs", "2", "--json", "figures.json"]
    monkeypatch.setattr(sys, "argv", ["superb_cache", *options])
    benchmark.main()
    rows = json.loads(Path("figures.json").read_text())["rows"]
    assert {row["case"].split(",")[0] for row in rows} == set(tasks)
    for row in rows:
        # Other cuts, another training: of these two the anchor is S3PRL's own.
        assert row["what"] == "S3PRL, 1 fixed cut" or row["difference"] < 1e-2, row
    printed = capsys.readouterr().out
    assert all(f"{task}, 2 epochs, " in printed for task in tasks)
    assert printed.count(" times faster, goal ") == 2 * len(tasks)
