"""The golden cases of MVQ, told apart by what their files hold; no file or case is named here."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from golden_cases import golden_root, params
from safetensors.torch import load_file
from torch import Tensor

SYSTEM = "mvq"


@dataclass(frozen=True)
class Case:
    """One case: its settings and the files that its tensors lie in."""

    name: str
    settings: dict[str, Any]
    weights: Path
    prefix: str = ""

    def __repr__(self) -> str:
        return self.name

    @functools.cached_property
    def tensors(self) -> dict[str, Tensor]:
        """Tensors of the weights file, without the case's prefix."""
        found = load_file(self.weights)
        return {
            k.removeprefix(self.prefix): v for k, v in found.items() if k.startswith(self.prefix)
        }

    @functools.cached_property
    def arrays(self) -> dict[str, Tensor]:
        """Inputs and outputs stored beside the weights."""
        with np.load(self.weights.with_name(f"{self.weights.stem}_io.npz")) as stored:
            return {name: torch.from_numpy(stored[name]) for name in stored.files}

    def under(self, prefix: str) -> dict[str, Tensor]:
        """Tensors whose names begin with ``prefix``, without it."""
        return {k.removeprefix(prefix): v for k, v in self.tensors.items() if k.startswith(prefix)}


def _documents() -> list[tuple[Path, dict[str, Any]]]:
    files = sorted((golden_root() / SYSTEM).glob("*.json"))
    return [
        (path.with_suffix(".safetensors"), json.loads(path.read_text("utf-8")))
        for path in files
        if path.with_suffix(".safetensors").is_file()
    ]


def quantizers() -> list[Any]:
    """Trained quantisers with inputs and outputs."""
    return _params(
        Case(path.stem, document, path)
        for path, document in _documents()
        if path.with_name(f"{path.stem}_io.npz").is_file()
    )


def traces() -> list[Any]:
    """Recorded steps of training."""
    return _params(Case(p.stem, d, p) for p, d in _documents() if "refine_iters" in d)


def codebook_losses(*, paired: bool = False) -> list[Any]:
    """Cases of the codebook prediction loss; ``paired``: those with codes at the teacher's rate."""
    return _params(
        Case(name, settings, path, f"{name}.")
        for path, document in _documents()
        for name, settings in document.items()
        if isinstance(settings, dict)
        and "predictor_channels" in settings
        and (settings.get("double_rate") or not paired)
    )


def frame_counts() -> list[Any]:
    """Rows (dict) of frame counts of student and teacher by number of samples."""
    files = sorted((golden_root() / SYSTEM).glob("*.json"))
    rows = [row for file in files for row in json.loads(file.read_text("utf-8")).get("rows", [])]
    return params(SYSTEM, ((f"{row['num_samples']} samples", (row,)) for row in rows))


def _params(cases: Any) -> list[Any]:
    return params(SYSTEM, ((case.name, (case,)) for case in cases))
