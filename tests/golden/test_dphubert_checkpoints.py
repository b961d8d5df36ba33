"""DPHuBERT's layout, whole and pruned: outputs, parameter counts, and the way there and back.

A case is a folder of ``dphubert`` with a teacher; pruned models are its ``*_pruned_config.json``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden_cases import golden_root
from safetensors.torch import load_file

from espnet_kd import load_model
from espnet_kd.checkpoints import dphubert
from espnet_kd.encoder import SpeechEncoder
from espnet_kd.errors import CheckpointError
from espnet_kd.pruning.gates import EncoderGates
from espnet_kd.pruning.sizes import parameter_total

pytestmark = pytest.mark.golden

FOLDER = golden_root() / "dphubert"


def _listed(pattern: str, suffix: str) -> Iterator[Any]:
    """(folder, prefix) of every file ``<prefix><suffix>`` below the cases."""
    if not FOLDER.is_dir():
        reason = f"no golden folder {FOLDER}: set ESPNET_KD_GOLDEN"
        yield pytest.param(None, None, id="dphubert", marks=pytest.mark.skip(reason=reason))
        return
    for file in sorted(FOLDER.glob(f"*/{pattern}{suffix}")):
        prefix = file.name.removesuffix(suffix)
        yield pytest.param(file.parent, prefix, id=f"dphubert/{file.parent.name}-{prefix}")


TEACHERS = list(_listed("teacher", ".safetensors"))
PRUNED = list(_listed("*_pruned", ".safetensors"))
GATED = list(_listed("*", "_log_alpha.safetensors"))
MODELS = [*TEACHERS, *PRUNED]


def test_cases_are_found() -> None:
    assert TEACHERS
    assert PRUNED
    assert GATED


def _json(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return content


def _config_file(folder: Path, prefix: str) -> Path:
    own = folder / f"{prefix}_config.json"
    return own if own.is_file() else folder / "config.json"


def _arrays(file: Path) -> dict[str, torch.Tensor]:
    with np.load(file) as stored:
        return {name: torch.from_numpy(stored[name]) for name in stored.files}


def _model(folder: Path, prefix: str) -> SpeechEncoder:
    file = folder / f"{prefix}.safetensors"
    return load_model(str(file), config=_config_file(folder, prefix))


def _close(ours: torch.Tensor, golden: torch.Tensor, lengths_B: torch.Tensor | None) -> None:
    """Equal on valid frames, five times closer than the suggested 1e-4."""
    for index in range(golden.size(0)):
        valid = golden.size(1) if lengths_B is None else int(lengths_B[index])
        torch.testing.assert_close(ours[index, :valid], golden[index, :valid], rtol=0.0, atol=2e-5)


@torch.no_grad()
@pytest.mark.parametrize(("folder", "prefix"), MODELS)
def test_outputs(folder: Path, prefix: str) -> None:
    model, golden = _model(folder, prefix), _arrays(folder / f"{prefix}_outputs.npz")
    inputs = _arrays(folder / "inputs.npz")
    output = model(inputs["waveforms"], inputs["lengths"])
    lengths_B = golden["out_lengths"]
    assert torch.equal(output.lengths_B, lengths_B)
    assert f"hidden_{len(output.hidden_states)}" not in golden
    for index, ours in enumerate(output.hidden_states):
        _close(ours, golden[f"hidden_{index}"], lengths_B)
    last = output.last_hidden_state
    _close(
        model.encoder_norm(last) if model.config.norm_first else last, golden["final"], lengths_B
    )
    if "nolen_first_last" in golden:
        alone = model(inputs["waveforms"][:1, : inputs["lengths"][0]]).last_hidden_state
        _close(alone, golden["nolen_first_last"].view_as(alone), None)


@pytest.mark.parametrize(("folder", "prefix"), TEACHERS)
def test_parameters_of_a_teacher(folder: Path, prefix: str) -> None:
    model, meta = _model(folder, prefix), _json(folder / "meta.json")
    assert parameter_total(model) == sum(p.numel() for p in model.parameters())
    assert parameter_total(model) == meta["original_num_params"]


@pytest.mark.parametrize(("folder", "prefix"), PRUNED)
def test_parameters_of_a_pruned_model(folder: Path, prefix: str) -> None:
    model, meta = _model(folder, prefix), _json(folder / "meta.json")
    assert parameter_total(model) == meta[prefix.removesuffix("_pruned")]["pruned_num_params"]


def _without_removed_blocks(config: dict[str, Any]) -> dict[str, Any]:
    """The entry of a removed block means nothing: 0, or no heads."""
    plain = dict(config)
    for flags, names in (
        ("encoder_use_attention", ("encoder_num_heads", "encoder_remaining_heads")),
        ("encoder_use_feed_forward", ("encoder_ff_interm_features",)),
    ):
        for name in set(names) & set(plain):
            rows = zip(plain[name], plain[flags], strict=True)
            plain[name] = [row if on else type(row)() for row, on in rows]
    return plain


@pytest.mark.parametrize(("folder", "prefix"), MODELS)
def test_there_and_back(folder: Path, prefix: str, tmp_path: Path) -> None:
    model, state = _model(folder, prefix), load_file(folder / f"{prefix}.safetensors")
    file = tmp_path / "model.pth"
    dphubert.save_dphubert(model, file)
    stored = torch.load(file, weights_only=True)
    published = _json(_config_file(folder, prefix))
    assert stored["config"] == _without_removed_blocks(published)
    assert stored["state_dict"].keys() == state.keys()
    assert all(torch.equal(stored["state_dict"][name], state[name]) for name in state)
    again = load_model(str(file))
    assert again.config == model.config
    assert all(
        torch.equal(a, b) for a, b in zip(again.parameters(), model.parameters(), strict=True)
    )


def _gated(folder: Path, prefix: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    state = load_file(folder / "student.safetensors")
    state |= load_file(folder / f"{prefix}_log_alpha.safetensors")
    return _json(folder / "config_gated.json"), state


@pytest.mark.parametrize(("folder", "prefix"), GATED)
def test_gates_are_read_under_our_names(folder: Path, prefix: str) -> None:
    encoder, log_alphas = dphubert.read_gated(*_gated(folder, prefix), "golden")
    gates = EncoderGates(encoder.config, ["conv", "head", "interm", "attlayer", "ffnlayer"])
    masks = _arrays(folder / f"{prefix}_eval_masks.npz")
    assert log_alphas.keys() == {name for name, _ in gates.named_gates()}
    assert len(log_alphas) == len(masks)
    for name, gate in gates.eval().named_gates():
        gate.log_alpha.data = log_alphas[name]
    found = dphubert.GATES.to_ours({f"{n}.log_alpha": mask for n, mask in masks.items()}, "masks")
    for name, mask in gates.masks().items():
        torch.testing.assert_close(mask.detach(), found[name], rtol=0.0, atol=1e-6)


@pytest.mark.parametrize(("folder", "prefix"), GATED)
def test_gated_models_are_refused(folder: Path, prefix: str, tmp_path: Path) -> None:
    config, state = _gated(folder, prefix)
    file = tmp_path / "gated.pth"
    torch.save({"config": config, "state_dict": state}, file)
    with pytest.raises(CheckpointError, match="prune it first"):
        load_model(str(file))
