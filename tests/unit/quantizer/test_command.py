"""``train_quantizer``: what it writes, resumption, and its messages."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch

from espnet_kd.bin import quantizer_training
from espnet_kd.bin.train_quantizer import main
from espnet_kd.checkpoints import load_quantizer

WRITTEN = {"config.json", "model.safetensors", "quantizer.pt", "training.json", "training.png"}
PUBLISHED = [
    "--method", "published", "--bytes_per_frame", "2", "--phase_one_iters", "6",
    "--phase_two_iters", "5", "--batch_size", "64", "--valid_interval", "4",
]  # fmt: skip


@pytest.fixture
def vectors(tmp_path):
    rng = np.random.default_rng(0)
    x_TD = np.maximum(rng.normal(size=(700, 6)), 0) @ rng.normal(size=(6, 6))
    np.save(tmp_path / "x.npy", x_TD.astype(np.float32))
    return str(tmp_path / "x.npy")


def test_kmeans_writes_both_layouts_and_a_report(vectors, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["--embeddings", vectors, "--out", str(out), "--bytes_per_frame", "2"]
    assert main([*command, "--logit_steps", "5", "--alternations", "1"]) == 0
    assert {p.name for p in out.iterdir()} == WRITTEN
    ours, published = load_quantizer(out), load_quantizer(out / "quantizer.pt")
    assert ours.config.num_codebooks == 2
    assert torch.equal(ours.centers, published.centers)
    report = json.loads((out / "training.json").read_text())
    assert report["held_out_relative_error"]["5"] < 0.5
    assert (report["vectors"], report["held_out_vectors"]) == (665, 35)
    assert report["bytes_per_hour_at_50_hz"] == 360_000
    assert "held-out relative error" in capsys.readouterr().out


def test_published_schedule_goes_on_where_it_was_interrupted(
    vectors, tmp_path, monkeypatch, capsys
):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert main(["--embeddings", vectors, "--out", str(whole), *PUBLISHED]) == 0
    command = ["--embeddings", vectors, "--out", str(parts), *PUBLISHED]
    measured, calls = quantizer_training._measured, []

    def interrupted(*args):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return measured(*args)

    monkeypatch.setattr(quantizer_training, "_measured", interrupted)
    assert main(command) == 130
    assert "start the same command again" in capsys.readouterr().err
    assert {p.name for p in parts.iterdir()} == {"checkpoint"}
    monkeypatch.undo()
    np.save(tmp_path / "y.npy", 2 * np.load(vectors))
    for other in (["--lr", "1"], ["--embeddings", str(tmp_path / "y.npy")]):
        assert main([*command, *other]) == 1
        assert "other options or vectors" in capsys.readouterr().err
    assert main(command) == 0
    assert {p.name for p in parts.iterdir()} == WRITTEN
    one, two = load_quantizer(whole), load_quantizer(parts)
    assert torch.equal(one.centers, two.centers)
    curves = [json.loads((p / "training.json").read_text())["curve"] for p in (whole, parts)]
    assert curves[0] == curves[1]
    assert [line["updates"] for line in curves[0]] == [4, 8, 12]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--bytes_per_frame", "0"], "num_codebooks is 0"),
        (["--max_frames", "100"], "clusters"),
        (["--max_frames", "1"], "nothing to learn"),
        ([*PUBLISHED, "--batch_size", "1000"], "batch of 1000"),
        ([*PUBLISHED, "--phase_one_iters", "0"], "phase_one_iters"),
        ([*PUBLISHED, "--lr", "nan"], "lr is nan"),
        ([*PUBLISHED, "--valid_interval", "0"], "valid_interval is 0"),
        ([*PUBLISHED, "--batch_size", "0"], "batch_size is 0"),
        (["--seed", "-1"], "seed is -1"),
        (["--max_frames", "-5"], "max_frames is -5"),
        ([*PUBLISHED, "--lr", "100"], "diverged at update 4"),
    ],
)
def test_bad_options_are_one_message(vectors, tmp_path, capsys, options, message):
    assert main(["--embeddings", vectors, "--out", str(tmp_path / "out"), *options]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error


def test_vectors_that_are_all_the_same(tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.full((700, 6), 0.1, np.float32))
    assert main(["--embeddings", str(tmp_path / "x.npy"), "--out", str(tmp_path / "out")]) == 1
    assert "the vectors do not differ" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["file", "file/below", "/proc/no/such", "other"])
def test_the_folder_is_looked_at_before_the_training(vectors, tmp_path, monkeypatch, capsys, name):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"model_type": "whisper"}')

    def train(*_):
        pytest.fail("the training began")

    monkeypatch.setattr(quantizer_training, "train_kmeans", train)
    assert main(["--embeddings", vectors, "--out", str(tmp_path / name)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "holds another model" in error if name == "other" else "cannot write" in error


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("cuda:99", "torch sees .* GPU"),
        ("cuda:x", "is no device"),
        ("gpu", "is no device"),
        ("meta", "cannot be used"),
    ],
)
def test_a_device_that_is_not_there(vectors, tmp_path, capsys, device, message):
    out = tmp_path / "out"
    assert main(["--embeddings", vectors, "--out", str(out), "--device", device]) == 1
    error = capsys.readouterr().err
    assert re.match(f"error: --device {device}.*{message}", error), error
    assert error.count("\n") == 1
    assert not out.exists()
