"""The golden cases of a system, found by listing its folder; nothing here names a case.

A case is a folder with ``config.json`` and ``golden.npz``. Some cases share a student or a teacher:
what a case lacks is taken from the one that has the same configuration of it.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

_DEFAULT = Path(__file__).resolve().parents[3] / "shared" / "golden"


def golden_root() -> Path:
    """Return the golden folder: ESPNET_KD_GOLDEN, else ../shared/golden beside the repository."""
    return Path(os.environ.get("ESPNET_KD_GOLDEN", _DEFAULT))


class GoldenCase:
    """One case folder: configuration, arrays and weights, loaded when asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = f"{folder.parent.name}/{folder.name}"
        self.config: dict[str, Any] = json.loads((folder / "config.json").read_text("utf-8"))

    def __repr__(self) -> str:
        return self.name

    @functools.cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """The case's own arrays by name."""
        with np.load(self.folder / "golden.npz") as stored:
            return {name: stored[name] for name in stored.files}

    def array(self, name: str) -> np.ndarray:
        """An array of this case, or of the case that holds its teacher."""
        return self.arrays[name] if name in self.arrays else self.teacher_case.arrays[name]

    def tensor(self, name: str) -> torch.Tensor:
        """The same as a tensor."""
        return torch.from_numpy(self.array(name))

    def modes(self, key: str) -> list[str]:
        """The modes that have an array, e.g. ``key='batch.{}.student_projections'``."""
        before, after = key.split("{}")
        found = (n for n in self.arrays if n.startswith(before) and n.endswith(after))
        return sorted({n[len(before) : len(n) - len(after)] for n in found} - {""})

    @functools.cached_property
    def student_case(self) -> GoldenCase:
        """The case whose folder holds this case's student weights."""
        return self._owner("student.safetensors", lambda config: config["yaml"]["distiller"])

    @functools.cached_property
    def teacher_case(self) -> GoldenCase:
        """The case whose folder holds this case's teacher weights."""
        return self._owner(
            "teacher.safetensors", lambda config: (config["teacher_kind"], config["teacher_cfg"])
        )

    def student_weights(self) -> dict[str, torch.Tensor]:
        """Published key names, prefix ``student_model.`` included."""
        return load_file(self.student_case.folder / "student.safetensors")

    def teacher_weights(self) -> dict[str, torch.Tensor]:
        """Published key names, prefix ``teacher_model.model.`` included."""
        return load_file(self.teacher_case.folder / "teacher.safetensors")

    def _owner(self, file: str, block: Callable[[dict[str, Any]], Any]) -> GoldenCase:
        if (self.folder / file).is_file():
            return self
        for other in find_cases(self.folder.parent.name):
            try:
                same = block(other.config) == block(self.config)
            except KeyError:
                continue
            if same and (other.folder / file).is_file():
                return other
        raise FileNotFoundError(f"{self.name} has no {file}, nor any case with the same settings")


def find_cases(system: str) -> list[GoldenCase]:
    """List the cases of a system, e.g. ``armhubert``; empty if the folder is absent."""
    folder = golden_root() / system
    return [GoldenCase(p.parent) for p in sorted(folder.glob("*/config.json"))]


def case_params(system: str, *, having: Callable[[GoldenCase], bool] = lambda _: True) -> list[Any]:
    """Parameters for ``pytest.mark.parametrize``: the cases for which ``having`` is true."""
    return params(system, ((c.name, (c,)) for c in find_cases(system) if having(c)))


def params(system: str, found: Iterable[tuple[str, tuple[Any, ...]]], arity: int = 1) -> list[Any]:
    """Turn (id, values) pairs into parameters; without the folder one that skips and says so."""
    if not (golden_root() / system).is_dir():
        reason = f"no golden folder {system}: set ESPNET_KD_GOLDEN"
        return [pytest.param(*[None] * arity, id=system, marks=pytest.mark.skip(reason=reason))]
    listed = [pytest.param(*values, id=name) for name, values in found]
    if not listed:
        raise FileNotFoundError(
            f"{golden_root() / system} is there but holds no case for this test"
        )
    return listed


def file_pairs(system: str, stem: str) -> Iterator[tuple[str, Any, dict[str, np.ndarray]]]:
    """Yield (name, JSON, arrays) of every ``<stem>*.json`` that has an ``.npz`` beside it."""
    for path in sorted((golden_root() / system).glob(f"{stem}*.json")):
        if path.with_suffix(".npz").is_file():
            with np.load(path.with_suffix(".npz")) as stored:
                arrays = {name: stored[name] for name in stored.files}
            yield f"{system}/{path.stem}", json.loads(path.read_text("utf-8")), arrays
