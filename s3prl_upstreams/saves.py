"""Checkpoints of S3PRL that a kill cannot take away.

S3PRL removes the only ``states-*.ckpt`` and then writes the next one in place: whoever stops it in
between, or fills the disk, loses the training.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from espnet_kd.utils.files import atomic_path
from s3prl_upstreams.invocation import STATES


class Instead:
    """A module with some of its names replaced, for the one module that is given it."""

    def __init__(self, module: ModuleType, **names: Any) -> None:
        self.__dict__.update(names, _module=module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


class WholeSaves:
    """``torch.save`` and ``os.remove`` of a runner: the old file goes when the new one is there."""

    def __init__(self) -> None:
        self._outdated: set[Path] = set()

    def put_into(self, runner: Any) -> None:
        """Let the module ``runner`` save and remove by us."""
        runner.torch = Instead(torch, save=self.save)
        runner.os = Instead(os, remove=self.remove)

    def save(self, states: Any, path: str) -> None:
        """Write a checkpoint beside its place and rename it; then remove what it outdates.

        Raises:
            KDError: the disk is full or the folder is not writable; the old files stay.
        """
        target = Path(path)
        with atomic_path(target) as temporary:
            try:
                torch.save(states, temporary)
            except RuntimeError as error:  # torch's zip writer hides the system's error
                raise OSError(errno.ENOSPC, "the disk is full, or has a size limit") from error
        if target.match(STATES):
            for old in self._outdated - {target}:
                old.unlink(missing_ok=True)
            self._outdated.clear()

    def remove(self, path: str) -> None:
        """Note a checkpoint that is to go when the next one is in its place."""
        self._outdated.add(Path(path))
