"""Foreign checkpoints of every origin against what their own programs and DPHuBERT's encoder gave.

A case is a folder of ``dphubert/conversion`` with a source configuration and weights. Conventions
that differ from ours: DPHuBERT lists the input of the positional convolution first (transformers
and we: its output), and a pre-norm model's last hidden state without the final LayerNorm.
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
from safetensors.torch import load_file, save_file

from espnet_kd import load_model
from espnet_kd.encoder import EncoderOutput, SpeechEncoder

pytestmark = pytest.mark.golden

FOLDER = golden_root() / "dphubert" / "conversion"


def _listed() -> Iterator[Any]:
    if not FOLDER.is_dir():
        reason = f"no golden folder {FOLDER}: set ESPNET_KD_GOLDEN"
        yield pytest.param(None, id="dphubert", marks=pytest.mark.skip(reason=reason))
    for folder in sorted(path.parent for path in FOLDER.glob("*/config.json")):
        yield pytest.param(folder, id=f"dphubert/{folder.name}")


CASES = list(_listed())


def _json(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return content


def _arrays(file: Path) -> dict[str, torch.Tensor]:
    if not file.is_file():
        return {}
    with np.load(file) as stored:
        return {name: torch.from_numpy(stored[name]) for name in stored.files}


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    (file,) = folder.glob("*_state_dict.*")
    return load_file(file) if file.suffix == ".safetensors" else _arrays(file)


def _write_source(case: Path, target: Path) -> Path:
    """The checkpoint as its own program would have saved it."""
    weights = _weights(case)
    if (case / "hf_config.json").is_file():
        target.mkdir()
        (target / "config.json").write_text((case / "hf_config.json").read_text("utf-8"))
        save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
        return target
    (source,) = (f for f in case.glob("*_config.json"))
    options = _json(source)
    if "kind" in options:
        kind = options.pop("kind")
        cfg = {"model": {"_name": kind, **options}, "task": {"normalize": False}}
    else:
        cfg = options
    file = target.with_suffix(".pt")
    torch.save({"cfg": cfg, "model": weights}, file)
    return file


def _load(case: Path, scratch: Path) -> SpeechEncoder:
    return load_model(
        _write_source(case, scratch / "source"),
        normalize_waveform=bool(_json(case / "config.json")["normalize_waveform"]),
        # The layout that the stored outputs come from pads by the convolutions' formula.
        frame_padding="conv",
    )


def _run(model: SpeechEncoder, inputs: dict[str, torch.Tensor]) -> EncoderOutput:
    with torch.no_grad():
        return model(inputs["waveforms"], inputs.get("lengths"))


def _close(ours: torch.Tensor, golden: torch.Tensor, lengths_B: torch.Tensor | None) -> None:
    """Equal on valid frames."""
    for index in range(golden.size(0)):
        valid = golden.size(1) if lengths_B is None else int(lengths_B[index])
        torch.testing.assert_close(ours[index, :valid], golden[index, :valid], rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("case", CASES)
def test_outputs_of_the_pruning_layout(case: Path, tmp_path: Path) -> None:
    model, inputs = _load(case, tmp_path), _arrays(case / "inputs.npz")
    golden = _arrays(case / "reference_outputs.npz")
    output = _run(model, inputs)
    if "out_lengths" in golden:
        assert torch.equal(output.lengths_B, golden["out_lengths"])
    layers = [golden[f"hidden_{k}"] for k in range(1, model.config.num_layers + 1)]
    assert f"hidden_{len(layers) + 1}" not in golden
    for ours, theirs in zip(output.layer_outputs, layers, strict=True):
        _close(ours, theirs, output.lengths_B)
    _close(output.last_hidden_state, golden["final"], output.lengths_B)
    frames = model.embed(inputs["waveforms"], inputs.get("lengths"))
    _close(frames.x_BTD, golden["hidden_0"], output.lengths_B)


@pytest.mark.parametrize("case", CASES)
def test_outputs_of_the_source_program(case: Path, tmp_path: Path) -> None:
    model, inputs = _load(case, tmp_path), _arrays(case / "inputs.npz")
    transformers, fairseq = (_arrays(case / f"{name}_outputs.npz") for name in ("hf", "fairseq"))
    if not transformers and not fairseq:
        assert (case / "meta.json").is_file()  # Microsoft's: only the reference's outputs exist
        return
    output = _run(model, inputs)
    for name in (n for n in transformers if n.startswith("hidden_")):
        ours = output.hidden_states[int(name.removeprefix("hidden_"))]
        _close(ours, transformers[name], output.lengths_B)
    if transformers:
        _close(output.last_hidden_state, transformers["last_hidden_state"], output.lengths_B)
    if "features" in fairseq:
        _close(output.last_hidden_state, fairseq["features"], output.lengths_B)
    if "features_single" in fairseq:
        single = _run(model, {"waveforms": inputs["waveforms"][:1, : inputs["lengths"][0]]})
        _close(single.last_hidden_state, fairseq["features_single"], None)


# The stored key map names every source weight that the target layout uses: ours uses no fewer.
@pytest.mark.parametrize("case", CASES)
def test_every_weight_finds_its_place(case: Path, tmp_path: Path) -> None:
    model, weights = _load(case, tmp_path), _weights(case)
    key_map = _json(case / "key_map.json")
    used = set(key_map.get("map", key_map).values())
    total = sum(weights[name].numel() for name in used if name in weights)
    masks = 0 if model.mask_embedding is None else model.mask_embedding.numel()
    assert sum(p.numel() for p in model.parameters()) - masks == total
