"""Features of batches that come again, kept in memory: a frozen upstream gives the same ones.

S3PRL runs the frozen upstream on every batch of every epoch. Where a task's batches are fixed (ASR:
its buckets are cut once and only their order changes) the second epoch can take the features of
the first one. A batch is known by its samples, so the result is the same bit for bit; batches that
never come again only cost their place until the budget is used up.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

Features = dict[str, Any]


class RememberingUpstream(nn.Module):
    """An upstream that keeps what it gave for a batch.

    Args:
        upstream: any S3PRL upstream, frozen.
        budget: bytes that features may take; batches beyond it are computed each time.
    """

    def __init__(self, upstream: nn.Module, budget: int) -> None:
        super().__init__()
        self.upstream = upstream
        self.left = budget
        self._known: dict[bytes, Features] = {}

    def get_downsample_rates(self, key: str) -> int:
        """Samples per frame of the upstream."""
        rate: Callable[[str], int] = self.upstream.get_downsample_rates  # type: ignore[assignment]
        return rate(key)

    def forward(self, wavs: Sequence[Tensor]) -> Features:
        """Features of a batch of 1-D waves, from memory where it was seen before."""
        if self.training or torch.is_grad_enabled():  # dropout, or somebody wants a gradient
            features: Features = self.upstream(wavs)
            return features
        key = batch_key(wavs)
        if key not in self._known:
            features = self.upstream(wavs)
            size = _bytes_of(features)
            if size > self.left:
                return features
            self.left -= size
            self._known[key] = features
        # Callers may put further entries into the dictionary, not into the tensors.
        return dict(self._known[key])


def batch_key(wavs: Sequence[Tensor]) -> bytes:
    """Digest of all samples and of where each wave ends."""
    digest = hashlib.blake2b()
    for wav in wavs:
        digest.update(f"{wav.dtype} {wav.numel()} ".encode())
        digest.update(wav.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.digest()


def _bytes_of(value: object) -> int:
    """Bytes of all distinct tensors in nested lists and dictionaries."""
    seen: dict[int, int] = {}

    def visit(part: object) -> None:
        if isinstance(part, Tensor):
            seen[part.untyped_storage().data_ptr()] = part.untyped_storage().nbytes()
        elif isinstance(part, dict):
            visit(list(part.values()))
        elif isinstance(part, list | tuple):
            for item in part:
                visit(item)

    visit(value)
    return sum(seen.values())


def remember_features(get_upstream: Callable[[Any], Any], gigabytes: float) -> Callable[[Any], Any]:
    """Wrap ``Runner._get_upstream`` so that a frozen upstream remembers while S3PRL trains."""

    def remembering(runner: Any) -> Any:
        entry = get_upstream(runner)
        if gigabytes > 0 and not entry.trainable and runner.args.mode == "train":
            entry.model = RememberingUpstream(entry.model, int(gigabytes * 1e9))
        return entry

    return remembering
