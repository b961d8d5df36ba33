"""Memory first, then the disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from espnet_kd.errors import KDError
from espnet_kd.utils.files import write_json
from s3prl_upstreams.cache.options import CacheOptions
from s3prl_upstreams.cache.report import say_once, size
from s3prl_upstreams.cache.shards import Entry, ShardFolder


class FeatureStore:
    """Entries under keys, in memory as far as it goes, and on disk.

    What is in memory stays there: epochs go through all data in turn, where throwing out the
    least recently used would throw out what is needed next.

    Args:
        disk: None = memory alone.
        memory: bytes that entries may take there.
        dtype: number format of what is kept; None = as computed.
    """

    def __init__(
        self, disk: ShardFolder | None, memory: int, dtype: torch.dtype | None = None
    ) -> None:
        self.disk = disk
        self.memory_left = memory
        self.dtype = dtype
        self.memory_bytes = 0
        self._memory: dict[bytes, Entry] = {}

    def __contains__(self, key: bytes) -> bool:
        return key in self._memory or (self.disk is not None and key in self.disk)

    def get(self, key: bytes) -> Entry | None:
        """Return what is kept under a key; its tensor must not be changed."""
        entry = self._memory.get(key)
        if entry is None and self.disk is not None:
            entry = self.disk.get(key)
            if entry is not None:
                self._remember(key, entry)
        return entry

    def put(self, key: bytes, entry: Entry) -> Entry:
        """Keep an entry where there is place; returns what :meth:`get` will."""
        tensor = entry.tensor.detach().cpu()
        if self.dtype is not None:
            tensor = _rounded(tensor, self.dtype)
        entry = replace(entry, tensor=tensor)
        self._remember(key, entry)
        if self.disk is not None:
            self.disk.put(key, entry)
        return entry

    def refresh(self) -> None:
        """Find what other processes have added since."""
        if self.disk is not None:
            self.disk.refresh()

    def close(self) -> None:
        """Close the files."""
        if self.disk is not None:
            self.disk.close()

    def say(self) -> str:
        """Tell the sizes."""
        parts = [f"{size(self.memory_bytes)} in memory"] if self.memory_bytes else []
        if self.disk is not None:
            parts.append(f"{size(self.disk.added)} added, {len(self.disk)} entries on disk")
        return ", ".join(parts) or "nothing kept"

    def _remember(self, key: bytes, entry: Entry) -> None:
        if entry.nbytes <= self.memory_left and key not in self._memory:
            self._memory[key] = entry
            self.memory_left -= entry.nbytes
            self.memory_bytes += entry.nbytes


def _rounded(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Convert numbers, unless one of them would no longer be finite."""
    rounded = tensor.to(dtype)
    if rounded.isfinite().all() or not tensor.isfinite().all():
        return rounded
    say_once(f"features beyond {dtype}'s range are kept as {tensor.dtype}")
    return tensor


def open_store(options: CacheOptions, expdir: str, key: str, about: dict[str, Any]) -> FeatureStore:
    """Open the store of one upstream and mode.

    Args:
        options: of the user.
        expdir: experiment folder, for the default place.
        key: of :func:`~s3prl_upstreams.cache.keys.upstream_key`.
        about: what a reader of the folder may want to know; kept beside the shards.
    """
    root = options.in_experiment(expdir).folder
    disk = None
    if root is not None:
        folder = Path(root) / key
        disk = ShardFolder(folder, int(options.disk_gb * 1e9))
        try:
            if not (folder / "about.json").exists():
                write_json(folder / "about.json", about)
        except (KDError, OSError) as error:
            say_once(f"{error}; the run goes on")
    dtype = torch.float16 if options.dtype == "float16" else None
    return FeatureStore(disk, int(options.memory_gb * 1e9), dtype)
