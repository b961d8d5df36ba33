"""Quantisers on disk, in both layouts."""

from __future__ import annotations

import json

import pytest
import torch

from espnet_kd.checkpoints import load_quantizer, save_published_quantizer, save_quantizer
from espnet_kd.errors import CheckpointError
from espnet_kd.quantizer import Quantizer, QuantizerConfig
from espnet_kd.utils.model_directory import write_model

PUBLISHED = {
    "centers", "logits_scale", "centers_scale", "id_buf", "to_logits.weight", "to_logits.bias",
}  # fmt: skip


@pytest.fixture
def quantizer():
    torch.manual_seed(0)
    return Quantizer(QuantizerConfig(5, 2, 16)).eval()


@pytest.mark.parametrize(
    ("save", "name"), [(save_quantizer, "q"), (save_published_quantizer, "q.pt")]
)
def test_round_trip(quantizer, tmp_path, save, name):
    save(quantizer, tmp_path / name)
    loaded = load_quantizer(tmp_path / name)
    x_BD = torch.randn(7, 5)
    assert loaded.id == quantizer.id
    assert loaded.config == quantizer.config
    assert torch.equal(loaded.encode(x_BD), quantizer.encode(x_BD))
    assert not loaded.training


def test_published_file_is_a_plain_state_dict(quantizer, tmp_path):
    save_published_quantizer(quantizer, tmp_path / "q.pt")
    state = torch.load(tmp_path / "q.pt", weights_only=True)
    assert set(state) == PUBLISHED
    assert state["centers"].shape == (2, 16, 5)


def test_damage_is_reported(quantizer, tmp_path):
    save_quantizer(quantizer, tmp_path / "q")
    config = json.loads((tmp_path / "q" / "config.json").read_text())
    config["quantizer"]["num_codebooks"] = 3
    (tmp_path / "q" / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="do not fit its configuration"):
        load_quantizer(tmp_path / "q")
    save_published_quantizer(quantizer, tmp_path / "q.pt")
    (tmp_path / "q.pt").write_bytes((tmp_path / "q.pt").read_bytes()[:700])
    with pytest.raises(CheckpointError, match=r"q\.pt"):
        load_quantizer(tmp_path / "q.pt")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="centers"):
        load_quantizer(tmp_path / "other.pt")
    state = quantizer.state_dict()
    del state["id_buf"]
    torch.save(state, tmp_path / "part.pt")
    with pytest.raises(CheckpointError, match="id_buf"):
        load_quantizer(tmp_path / "part.pt")


def test_an_encoder_names_what_reads_it(tmp_path):
    write_model(tmp_path, {}, {})
    with pytest.raises(CheckpointError, match=r"espnet_kd\.load_model loads it"):
        load_quantizer(tmp_path)
