"""Digests that tell waves, batches and upstreams apart.

A feature is found by what it was made of: all samples of the wave, and everything about the
upstream. No file name, index or path enters, so renamed data is found and replaced data is not.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

FORMAT = "2"
"""Changes whenever the same key would mean other numbers, or the files another layout."""

KEY_BYTES = 32

_PLAIN = (bool, int, float, str, bytes, type(None), torch.dtype, torch.Size)


def wave_key(wav: Tensor) -> bytes:
    """Digest of the samples of one wave and of their type."""
    return batch_key([wav])


def batch_key(wavs: Sequence[Tensor]) -> bytes:
    """Digest of all samples of a batch in order, and of where each wave ends."""
    digest = _start()
    for wav in wavs:
        _add_tensor(digest, wav)
    key: bytes = digest.digest()
    return key


def tensor_digest(tensor: Tensor) -> bytes:
    """Digest of a tensor's numbers and of their type."""
    digest = hashlib.sha256()
    _add_tensor(digest, tensor)
    return digest.digest()


def upstream_key(upstream: nn.Module, *more: object) -> str:
    """Digest of an upstream: code, options, all parameters and buffers, kind of device.

    Args:
        upstream: the frozen module.
        *more: whatever else decides what an entry holds, such as the mode.

    Returns:
        A name for a folder, 32 hexadecimal digits.
    """
    digest = hashlib.sha256()
    minor = ".".join(torch.__version__.split(".")[:2])  # other versions round otherwise
    for part in (FORMAT, minor, *more, repr(upstream)):
        digest.update(f"{part}\n".encode())
    for file in _sources(upstream):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    for name, module in upstream.named_modules():
        kind = f"{type(module).__module__}.{type(module).__qualname__}"
        digest.update(f"{name} {kind} {_options_of(module)}\n".encode())
        own = {**module._parameters, **module._buffers}
        for label, tensor in own.items():
            digest.update(f"{name}.{label} ".encode())
            if tensor is not None:
                digest.update(f"{_kind_of_device(tensor.device)} {tuple(tensor.shape)} ".encode())
                _add_tensor(digest, tensor)
    return digest.hexdigest()[:32]


def _sources(upstream: nn.Module) -> list[Path]:
    """Python files of an upstream's classes, and those beside them: other code, other features."""
    names = {type(module).__module__ for module in upstream.modules()}
    files = {getattr(sys.modules.get(name), "__file__", None) for name in names}
    folders = {Path(file).parent for file in files if file is not None}
    torch_itself = Path(torch.__file__).parent
    own = sorted(folder for folder in folders if torch_itself not in (folder, *folder.parents))
    return [file for folder in own for file in sorted(folder.glob("*.py"))]


def _kind_of_device(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _options_of(module: nn.Module) -> str:
    """Attributes of a module, and those of configurations and processors that it holds."""
    own = {name: value for name, value in vars(module).items() if name != "training"}
    return repr(_told(own, set()))


def _told(value: Any, seen: set[int]) -> Any:
    """What of a value tells the same in every process; modules and tensors are seen elsewhere."""
    if isinstance(value, _PLAIN):
        return value
    name = getattr(value, "__qualname__", type(value).__qualname__)
    if isinstance(value, type | nn.Module | Tensor) or id(value) in seen:
        return name
    seen.add(id(value))
    if isinstance(value, np.ndarray):
        return value.shape, hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
    if isinstance(value, set | frozenset):
        return sorted(map(repr, value))
    if isinstance(value, list | tuple):
        return [_told(part, seen) for part in value]
    if not isinstance(value, Mapping):
        return name, _told(getattr(value, "__dict__", {}), seen)
    public = {repr(key): part for key, part in value.items() if not str(key).startswith("_")}
    return [(key, _told(public[key], seen)) for key in sorted(public)]


def _start() -> Any:
    """Begin a digest; features under autocast are other ones."""
    # SHA-256 is what processors have instructions for: 1 GB/s, twice as fast as BLAKE2 here.
    return hashlib.sha256(b"amp" if torch.is_autocast_enabled() else b"")


def _add_tensor(digest: Any, tensor: Tensor) -> None:
    digest.update(f"{tensor.dtype} {tensor.numel()} ".encode())
    if tensor.numel():
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().data)
