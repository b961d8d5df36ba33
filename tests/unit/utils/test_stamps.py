"""Stamps tell a model from itself after an update, not from a copy of itself."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from espnet_kd.utils.stamps import stamp_of_folder, stamp_of_model


@pytest.fixture
def model() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(40, 50), nn.Linear(50, 1))


def test_a_models_stamp_changes_with_its_weights(model: nn.Module) -> None:
    before = stamp_of_model(model)
    assert stamp_of_model(model) == before
    assert stamp_of_model(model[0]) != before
    with torch.no_grad():
        model[1].bias.add_(1e-3)
    assert stamp_of_model(model) != before


def test_a_folders_stamp_is_that_of_its_weights(model: nn.Module, tmp_path: Path) -> None:
    first, copy = tmp_path / "first", tmp_path / "copy"
    first.mkdir()
    save_file(model.state_dict(), first / "model.safetensors")
    (first / "config.json").write_text("{}")
    shutil.copytree(first, copy)
    before = stamp_of_folder(first)
    assert before
    assert stamp_of_folder(copy) == before
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.01)
    save_file(model.state_dict(), first / "model.safetensors")
    assert stamp_of_folder(first) != before
    assert stamp_of_folder(tmp_path) == stamp_of_folder("owner/name") == ""
