"""Fine-tuned files of fairseq: the encoder inside, and the CTC projection beside it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch

from espnet_kd import load_model
from espnet_kd.checkpoints import load_ctc_head
from espnet_kd.errors import CheckpointError
from tests.unit.checkpoints import foreign
from tests.unit.checkpoints.foreign import save
from tests.unit.encoder.tiny import tiny

LABELS = 7


def content_of(model: Any, *, w2v_args: Any, normalize: bool = True) -> dict[str, Any]:
    weights = {f"w2v_encoder.w2v_model.{k}": v for k, v in foreign.fairseq_weights(model).items()}
    weights["w2v_encoder.w2v_model.label_embs_concat"] = torch.zeros(5, 4)
    weights["w2v_encoder.proj.weight"] = torch.randn(LABELS, model.config.embed_dim)
    weights["w2v_encoder.proj.bias"] = torch.randn(LABELS)
    block = {"_name": "hubert_ctc", "w2v_args": w2v_args, "normalize": normalize, "layerdrop": 0.1}
    cfg = {"model": block, "task": {"_name": "audio_finetuning", "normalize": normalize}}
    return {"cfg": cfg, "args": None, "model": weights}


@pytest.mark.parametrize("normalize", [True, False])
def test_the_encoder_of_a_fine_tuned_file(normalize: bool, tmp_path: Path) -> None:
    model = tiny("hubert_large", frame_padding="chunked", normalize_waveform=normalize)
    inner = {"model": foreign.fairseq_options(model.config), "task": {"normalize": normalize}}
    content = content_of(model, w2v_args=inner, normalize=normalize)
    loaded = load_model(save(content, tmp_path / "model.pt"))
    assert loaded.config.norm_first
    assert loaded.config.normalize_waveform == normalize
    foreign.same_outputs(loaded, model)


def test_the_task_alone_may_say_that_waveforms_are_normalised(tmp_path: Path) -> None:
    model = tiny("hubert_large", frame_padding="chunked", normalize_waveform=True)
    inner = {"model": foreign.fairseq_options(model.config), "task": {"normalize": False}}
    content = content_of(model, w2v_args=inner)
    del content["cfg"]["model"]["normalize"]
    assert load_model(save(content, tmp_path / "model.pt")).config.normalize_waveform


def test_old_files_carry_namespaces(tmp_path: Path) -> None:
    model = tiny("wav2vec2_base", frame_padding="conv")
    options = foreign.fairseq_options(model.config)
    del options["_name"]
    inner = argparse.Namespace(arch="wav2vec2", **options)
    content = content_of(model, w2v_args=inner, normalize=False)
    content["args"] = argparse.Namespace(arch="wav2vec_ctc", normalize=False, w2v_args=inner)
    content["cfg"] = None
    loaded = load_model(save(content, tmp_path / "model.pt"))
    assert loaded.config.family == "wav2vec2"
    foreign.same_outputs(loaded, model)


def test_without_the_options_of_the_encoder(tmp_path: Path) -> None:
    content = content_of(tiny("hubert_base"), w2v_args=None)
    with pytest.raises(CheckpointError, match="w2v_args"):
        load_model(save(content, tmp_path / "model.pt"))


def test_ctc_head(tmp_path: Path) -> None:
    content = content_of(tiny("hubert_base"), w2v_args=None)
    head = load_ctc_head(save(content, tmp_path / "model.pt"))
    assert torch.equal(head.weight, content["model"]["w2v_encoder.proj.weight"])
    assert torch.equal(head.bias, content["model"]["w2v_encoder.proj.bias"])
    assert not head.weight.requires_grad


def test_ctc_head_of_a_hugging_face_folder(tmp_path: Path) -> None:
    weights = {"hubert.x": torch.zeros(1), "lm_head.weight": torch.ones(LABELS, 3)}
    save({**weights, "lm_head.bias": torch.zeros(LABELS)}, tmp_path / "pytorch_model.bin")
    assert load_ctc_head(tmp_path).weight.shape == (LABELS, 3)


def test_models_that_were_not_fine_tuned_have_no_head(tmp_path: Path) -> None:
    file = save(foreign.fairseq_content(tiny("hubert_base")), tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="has no CTC projection"):
        load_ctc_head(file)
