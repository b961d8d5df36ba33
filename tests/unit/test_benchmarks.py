"""The benchmarks run from end to end, with models and batches far too small to measure anything.

A card is played by the CPU: what is placed on it stays where it is, its clock is the CPU's.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers

from espnet_kd.encoder.architectures import architecture
from espnet_kd.encoder.config import LayerConfig
from espnet_kd.losses import JointCodebookLoss
from espnet_kd.quantizer import Quantizer, QuantizerConfig
from espnet_kd.quantizer.kmeans import KMeansOptions
from espnet_kd.quantizer.train import QuantizerTrainer

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
CONVS = [[32, 10, 5], *[[32, 3, 2]] * 4, *[[32, 2, 2]] * 2]
WIDTH = 32


@pytest.fixture(scope="module")
def load():
    """Import a benchmark as the command does: its folder is on the path."""
    before = set(sys.modules)
    verbosity = transformers.logging.get_verbosity()
    sys.path.insert(0, str(FOLDER))
    yield importlib.import_module
    sys.path.remove(str(FOLDER))
    transformers.logging.set_verbosity(verbosity)
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(FOLDER)):
            del sys.modules[name]


class Event:
    """A CUDA event that the CPU's clock stands in for."""

    def __init__(self, **_options):
        self.seconds = 0.0

    def record(self):
        self.seconds = time.perf_counter()

    def elapsed_time(self, end):
        return 1000 * (end.seconds - self.seconds)


@pytest.fixture
def card(load, monkeypatch):
    """Lets ``--device cuda`` run without a card."""
    place = load("place")
    monkeypatch.setattr(place, "_wake_up", lambda _device: None)
    monkeypatch.setattr(place.Place, "home", torch.device("cpu"))
    for name, value in {
        "is_available": lambda: True,
        "synchronize": lambda *_: None,
        "memory_allocated": lambda: 0,
        "max_memory_allocated": lambda: 2**20,
        "reset_peak_memory_stats": lambda: None,
        "mem_get_info": lambda: (2**30, 2**30),
        "is_current_stream_capturing": lambda: False,
        "get_device_name": lambda: "a card of paper",
        "Event": Event,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)


@pytest.fixture
def run(load, monkeypatch, capsys, tmp_path):
    """Run a benchmark's ``main``; its output, and the rows of its file."""

    def run(name, *arguments):
        monkeypatch.setattr(load("common"), "memory_in_fresh_process", lambda *_: 1.0)
        monkeypatch.setattr(load("place"), "WARM_UP", {"cpu": 0, "cuda": 0})
        figures = tmp_path / "figures.json"
        command = [name, "--runs", "1", "--json", str(figures), *arguments]
        monkeypatch.setattr(sys, "argv", command)
        load(name).main()
        return capsys.readouterr().out, json.loads(figures.read_text())

    return run


@pytest.fixture
def small_encoders(load, monkeypatch):
    """Everything of HuBERT Base's size becomes small."""
    common = load("common")
    layers = [LayerConfig(num_heads=2, head_dim=16, ffn_dim=64) for _ in range(12)]
    shape = {"conv_layers": CONVS, "embed_dim": WIDTH, "layers": layers, "pos_conv_groups": 2}

    def hubert():
        torch.manual_seed(0)
        config = transformers.HubertConfig(
            attn_implementation="sdpa", layerdrop=0.0, hidden_size=WIDTH, num_attention_heads=2,
            intermediate_size=64, conv_dim=[conv[0] for conv in CONVS],
            num_conv_pos_embedding_groups=2,
        )  # fmt: skip
        return transformers.HubertModel(config).eval()

    def small(name):
        changes = dict(shape)
        if name == "armhubert":
            kinds = [layer.attention for layer in architecture(name).layers]
            changes["layers"] = [
                LayerConfig(num_heads=2, head_dim=16, ffn_dim=64, attention=kind) for kind in kinds
            ]
            changes["head_dim"] = WIDTH
        return architecture(name).replace(**changes)

    monkeypatch.setattr(common, "hubert_base", hubert)
    monkeypatch.setattr(common, "SECONDS", 0.5)
    return small


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_inference(load, run, small_encoders, monkeypatch, request, device):
    if device == "cuda":
        request.getfixturevalue("card")
    monkeypatch.setattr(load("inference"), "architecture", small_encoders)
    printed, figures = run("inference", "--device", device)
    assert ("a card of paper" in printed) == (device == "cuda")
    assert len(figures["rows"]) == 2 * len(load("common").BATCHES[device])
    assert all(("device_seconds" in row) == (device == "cuda") for row in figures["rows"])


def first_losses(printed):
    (line,) = (line for line in printed.splitlines() if "losses of the first step" in line)
    return [float(part.split()[-2]) for part in line.split("step: ")[1].split("),")]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("name", ["training_step", "pruning_step"])
def test_steps_of_both_sides_have_one_loss(
    load, run, small_encoders, monkeypatch, request, name, device
):
    if device == "cuda":
        request.getfixturevalue("card")
    if name == "training_step":
        monkeypatch.setattr(load(name), "architecture", small_encoders)
    else:
        criterion = load(name).LayerDistillLoss
        pruning = load(name).PruningConfig
        monkeypatch.setattr(
            load(name), "LayerDistillLoss", lambda layers, *_: criterion(layers, WIDTH, WIDTH)
        )
        monkeypatch.setattr(load(name), "PruningConfig", lambda: pruning(target_sparsity=0.5))
    printed, figures = run(name, "--device", device, "--batch", "2")
    losses = first_losses(printed)
    assert losses == pytest.approx([losses[0]] * len(losses), rel=1e-4)
    assert figures["rows"][0]["ratio"] == 1.0


@pytest.fixture
def small_whispers(load, monkeypatch):
    """The tiny shape becomes much smaller."""
    whispers = load("whispers")
    monkeypatch.setitem(whispers.SHAPES, "tiny", whispers.Shape(16, 2, 2))


@pytest.mark.parametrize(("device", "encoder"), [("cpu", "found"), ("cuda", "own")])
def test_whisper_steps_of_both_sides_have_one_loss(
    load, run, small_whispers, monkeypatch, request, device, encoder
):
    if device == "cuda":
        request.getfixturevalue("card")
    monkeypatch.setattr(load("whisper_training_step"), "MAX_LABEL_LENGTH", 110)
    small = ("--size", "tiny", "--batch", "2", "--encoder", encoder)
    printed, figures = run("whisper_training_step", *small, "--device", device)
    original, ours = first_losses(printed)
    assert ours == pytest.approx(original, rel=1e-5)
    assert set(figures["goals"].values()) == {0.5}


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_labelling_engines_agree(load, run, small_whispers, monkeypatch, request, device):
    if device == "cuda":
        request.getfixturevalue("card")
        # As on a machine without the other engines.
        monkeypatch.setattr(load("whisper_engines"), "installed", lambda _module: False)
    small = ("--size", "tiny", "--batch", "2", "--tokens", "3", "--device", device)
    _, figures = run("pseudo_labelling", *small)
    exact = [row for row in figures["rows"] if "int8" not in row["what"]]
    assert {row["same"] for row in exact} == {"2 of 2"}


def test_a_drafted_text_is_the_teachers_own(load, run, small_whispers, card, monkeypatch):
    monkeypatch.setattr(load("speculative_decoding"), "DECODER_LAYERS", 3)
    small = ("--size", "tiny", "--encoder_layers", "1", "--tokens", "6", "--influence", "0")
    _, figures = run("speculative_decoding", *small, "--device", "cuda")
    alone, drafted = figures["rows"]
    assert drafted["identical"] == "3 of 3"
    assert alone["tokens_per_pass"] == 1.0
    assert drafted["tokens_per_pass"] > 1.0


def test_transducer_losses_of_both_sides_are_one(load, run, monkeypatch):
    pytest.importorskip("torchaudio")
    module = load("transducer")
    for name, size in {"FRAMES": 9, "SYMBOLS": 4, "VOCABULARY": 7, "WIDTH": 8}.items():
        monkeypatch.setattr(module, name, size)
    printed, figures = run("transducer", "--batch", "2")
    losses = first_losses(printed)
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert losses[-1] >= losses[0]  # fewer paths
    assert figures["goals"] == {"loss and joiner, 2 × 10 s": 0.1}


@pytest.fixture
def multi_quantization(load, monkeypatch):
    """Ours in the published package's clothes, so that the benchmarks run without it."""

    class Theirs(Quantizer):
        def __init__(self, dim, codebook_size, num_codebooks):
            super().__init__(QuantizerConfig(dim, num_codebooks, codebook_size))

    package = SimpleNamespace(
        Quantizer=Theirs, QuantizerTrainer=QuantizerTrainer, JointCodebookLoss=JointCodebookLoss
    )
    monkeypatch.setitem(sys.modules, "multi_quantization", package)
    return package


BRIEF = KMeansOptions(lloyd_rounds=1, alternations=1, logit_steps=2)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_both_quantisers_give_the_same_codes(
    load, run, multi_quantization, monkeypatch, request, device
):
    if device == "cuda":
        request.getfixturevalue("card")
    module = load("quantizer_encoding")
    monkeypatch.setattr(module, "TRAINING_VECTORS", 300)
    monkeypatch.setattr(module, "BRIEF", BRIEF)
    few = ("--sizes", "6x2", "8x4", "--frames", "40", "--device", device)
    _, figures = run("quantizer_encoding", *few)
    assert [row["other_codes"] for row in figures["rows"]] == [0] * 12
    assert figures["goals"] == {"6x2, 5 passes": 0.1, "8x4, 5 passes": 0.1}


def test_other_codes_are_counted(load, run, multi_quantization, monkeypatch):
    module = load("quantizer_encoding")
    monkeypatch.setattr(module, "TRAINING_VECTORS", 300)
    monkeypatch.setattr(module, "BRIEF", BRIEF)
    encode = Quantizer.encode
    multi_quantization.Quantizer.encode = lambda self, x, *args, **kwargs: encode(
        self, x + (torch.arange(len(x)) < 7)[:, None] * 100, *args, **kwargs
    )
    _, figures = run("quantizer_encoding", "--sizes", "6x2", "--frames", "40")
    assert {row["other_codes"] for row in figures["rows"]} <= {5, 6, 7}


def test_trainers_of_both_sides_get_the_same_batches(load, run, multi_quantization, monkeypatch):
    module = load("quantizer_training")
    for name, value in {
        "VECTORS": 300, "HELD_OUT": 50, "BATCH": 20, "OPTIONS": BRIEF, "BUDGET": 1e-9,
    }.items():  # fmt: skip
        monkeypatch.setattr(module, name, value)
    _, figures = run("quantizer_training", "--sizes", "6x2")
    theirs, schedule, ours = (row["errors"] for row in figures["rows"])
    assert theirs == schedule != ours
    assert figures["rows"][0]["updates"] == "8"


def test_codebook_losses_of_both_sides_are_one(load, run, multi_quantization, monkeypatch):
    module = load("codebook_loss")
    monkeypatch.setattr(module, "BATCH", 2)
    monkeypatch.setattr(module, "FRAMES", 3)
    few = ("--channels", "8", "--codebooks", "2", "3", "--dtype", "bfloat16")
    _, figures = run("codebook_loss", *few)
    losses = [row["loss"] for row in figures["rows"]]
    assert len(losses) == 16
    assert losses[0::2] == losses[1::2]
    assert len(figures["goals"]) == 8


@pytest.mark.parametrize("name", ["quantizer_encoding", "quantizer_training", "codebook_loss"])
def test_without_the_published_package_nothing_fails(load, monkeypatch, capsys, name):
    monkeypatch.setitem(sys.modules, "multi_quantization", None)
    monkeypatch.setattr(sys, "argv", [name])
    with pytest.raises(SystemExit) as end:
        load(name).main()
    assert end.value.code == 0
    assert "pip install --no-deps multi_quantization" in capsys.readouterr().out
