"""Stamps: whether models and data are still those that earlier results were made with.

A model that is trained again lies in the same folder under the same name. Stamps are of samples of
its values, which is cheap; training changes nearly all of them. Those of a Kaldi folder are of its
tables.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import torch
from torch import nn

WEIGHTS = ("*.safetensors", "model.bin")
"""Files that hold weights; the second one is CTranslate2's."""

TABLES = ("wav.scp", "segments", "utt2spk", "text")
"""Tables of a Kaldi folder that say what its utterances are."""

_SAMPLES, _BYTES = 256, 64


def stamp_of_model(model: nn.Module) -> str:
    """Stamp of a loaded model, the same wherever it was loaded from and to."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        values = tensor.detach().reshape(-1)
        sample = values[:: max(1, len(values) // _BYTES)].to("cpu", torch.float32)
        digest.update(f"{name} {tuple(tensor.shape)} ".encode() + sample.numpy().tobytes())
    return digest.hexdigest()[:16]


def stamp_of_folder(folder: str | os.PathLike[str]) -> str:
    """Stamp of the weight files of a directory; empty where there are none, as for a hub name."""
    place = Path(folder)
    files = sorted(path for pattern in WEIGHTS for path in place.glob(pattern))
    if not files:
        return ""
    digest = hashlib.sha256()
    for path in files:
        size = path.stat().st_size
        digest.update(f"{path.name} {size} ".encode())
        with path.open("rb") as stream:
            for number in range(_SAMPLES):
                stream.seek(size * number // _SAMPLES)
                digest.update(stream.read(_BYTES))
    return digest.hexdigest()[:16]


def stamp_of_tables(folder: str | os.PathLike[str]) -> str:
    """Stamp of the tables of a Kaldi folder; empty where there are none."""
    files = [path for name in TABLES if (path := Path(folder) / name).is_file()] if folder else []
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16] if files else ""
