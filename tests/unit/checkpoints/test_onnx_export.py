"""ONNX files of every kind of encoder, compared by onnxruntime."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from espnet_kd.bin.export_onnx import main
from espnet_kd.checkpoints import onnx_export
from espnet_kd.checkpoints.onnx_export import TOLERANCE, compare, export_onnx
from espnet_kd.encoder import SpeechEncoder
from espnet_kd.errors import KDError, MissingDependencyError
from tests.unit.encoder.tiny import tiny


@pytest.fixture
def runtime() -> None:
    """Skips without the extra ``onnx``."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")


def _pruned(name: str, **changes: Any) -> SpeechEncoder:
    layers = tiny(name).config.to_dict()["layers"]
    layers[0].update(num_heads=3, ffn_dim=5)
    layers[1].update(attention="none")
    layers[2].update(ffn_dim=0)
    if "wavlm" in name:
        layers[0]["kept_heads"] = [0, 2, 3]
        changes["total_heads"] = 4
    convs = [[c - i % 3, k, s] for i, (c, k, s) in enumerate(tiny(name).config.conv_layers)]
    return tiny(
        name, layers=layers, conv_layers=convs, channel_scale=True, hidden_states="features",
        **changes,
    )  # fmt: skip


def _time_reducing() -> SpeechEncoder:
    layers = tiny("maskhubert").config.to_dict()["layers"]
    layers[1]["time_reduction"] = layers[3]["time_reduction"] = 2
    return tiny("maskhubert", layers=layers)


MODELS = {
    "hubert_base": lambda: tiny("hubert_base"),
    "wav2vec2_large": lambda: tiny("wav2vec2_large"),
    "wavlm_large": lambda: tiny("wavlm_large"),
    "armhubert": lambda: tiny("armhubert"),
    "armhubert_single": lambda: tiny("armhubert", reuse_mode="single"),
    "starhubert": lambda: tiny("starhubert"),
    "pruned_hubert": lambda: _pruned("hubert_base"),
    "pruned_hubert_large": lambda: _pruned("hubert_large", frame_padding="chunked"),
    "pruned_wavlm": lambda: _pruned("wavlm_base"),
    "exact_norm": lambda: _pruned("hubert_base", feature_norm_channels=12),
    "time_reduction": _time_reducing,
}


@pytest.mark.parametrize("name", MODELS)
def test_same_numbers_for_any_length_and_batch(name: str, runtime: None, tmp_path: Path) -> None:
    import onnx

    model, file = MODELS[name]().train(), tmp_path / "x.onnx"
    differences = export_onnx(model, file)
    assert model.training, "the model stays as it was"
    alone = [label for label in differences if "+" not in label]
    assert len(alone) == 5
    assert alone[0] == str(model.min_samples)
    assert len(differences) == 6
    assert max(differences.values()) < TOLERANCE
    proto = onnx.load(file)
    free = [d.dim_param for d in proto.graph.input[0].type.tensor_type.shape.dim]
    assert free == ["batch", "samples"]
    properties = {entry.key: entry.value for entry in proto.metadata_props}
    assert properties["min_samples"] == str(model.min_samples)
    assert properties["hidden_states"] == model.config.hidden_states
    assert len(proto.graph.output) == len(model.eval()(torch.randn(1, 400)).hidden_states) + 1


def test_a_disagreeing_file_is_removed(
    runtime: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "x.onnx"
    file.write_bytes(b"before")
    monkeypatch.setattr(onnx_export, "TOLERANCE", 0.0)
    with pytest.raises(KDError, match="differ from the original") as caught:
        export_onnx(tiny("hubert_base"), file)
    assert "400 (" in str(caught.value)
    assert file.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["x.onnx"]


def test_another_models_file_is_noticed(runtime: None, tmp_path: Path) -> None:
    export_onnx(tiny("hubert_base"), tmp_path / "x.onnx")
    with pytest.raises(KDError, match="differ from the original"):
        compare(tiny("hubert_base", seed=1), tmp_path / "x.onnx")


def test_what_torch_cannot_export_is_one_message(
    runtime: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise RuntimeError("no symbolic\nfor this")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(KDError, match=r"cannot export this encoder to ONNX: no symbolic\Z"):
        export_onnx(tiny("hubert_base"), tmp_path / "x.onnx")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_without_the_extra_the_message_says_what_to_install(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=r"pip install onnx onnxruntime") as caught:
        export_onnx(tiny("hubert_base"), tmp_path / "x.onnx")
    assert package in str(caught.value)


def test_the_command(runtime: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _pruned("wavlm_base").save_pretrained(tmp_path / "model")
    file = tmp_path / "x.onnx"
    assert main(["--model", str(tmp_path / "model"), "--out", str(file)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 1
    assert "differs by at most" in said[0]
    assert main(["--model", str(tmp_path / "none"), "--out", str(file)]) == 1
    assert "does not exist" in capsys.readouterr().err
