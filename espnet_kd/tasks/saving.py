"""Nothing that was saved is lost: atomic writes of ESPnet's files, and repair after a kill.

ESPnet's trainer writes ``checkpoint.pth`` in place, then ``<epoch>epoch.pth``, then links. A kill
between two of these steps leaves a state that its own resume does not expect.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import yaml

from espnet_kd.errors import CheckpointError, KDError
from espnet_kd.tasks.lock import output_dir_lock
from espnet_kd.utils.files import atomic_path, write_text

LAST = "checkpoint.pth"
"""ESPnet's state after the last complete epoch."""

_DAMAGE = (RuntimeError, EOFError, OSError, KeyError, pickle.UnpicklingError, zipfile.BadZipFile)


@contextlib.contextmanager
def atomic_torch_save() -> Iterator[None]:
    """Within the block, ``torch.save`` to a path writes beside it and then replaces it.

    A full disk raises :class:`espnet_kd.errors.KDError` with path and free bytes; the old file
    stays.
    """
    write = torch.save

    def save(value: Any, target: Any, *args: Any, **kwargs: Any) -> None:
        if not isinstance(target, (str, os.PathLike)):
            write(value, target, *args, **kwargs)
            return
        with atomic_path(target) as temporary:
            try:
                write(value, temporary, *args, **kwargs)
            except RuntimeError as error:  # torch's zip writer hides the system's error
                raise OSError(
                    errno.ENOSPC, "the disk is full or a size limit is reached"
                ) from error

    with mock.patch.object(torch, "save", save):
        yield


@contextlib.contextmanager
def explain_damage(path: Path) -> Iterator[None]:
    """Turn any failure to read ``path`` into one sentence that names it and the remedy."""
    try:
        yield
    except _DAMAGE as error:
        text = str(error)
        if "Error(s) in loading state_dict" in text:
            raise CheckpointError(
                f"{path} belongs to another model than the configuration describes: {text}\n"
                "use the configuration it was trained with, or another --output_dir"
            ) from error
        raise CheckpointError(
            f"{path} is damaged ({_size(path)}; "
            f"{text.splitlines()[0] if text else type(error).__name__}). "
            "Move it away and start from the newest epoch file beside it with "
            "--init_param <N>epoch.pth, or train again from the start"
        ) from error


def _size(path: Path) -> str:
    return f"{path.stat().st_size:,} bytes" if path.exists() else "missing"


@contextlib.contextmanager
def run_folder(folder: Path, *, resume: bool) -> Iterator[None]:
    """Own ``folder`` for a run that ends or fails inside the block.

    Raises:
        KDError: another process runs there, or there is a run that would be overwritten.
    """
    with output_dir_lock(folder):
        if not resume and (folder / LAST).exists():
            raise KDError(
                f"{folder} holds a run already; --resume true (the default) goes on with it, "
                f"another "
                "--output_dir starts afresh"
            )
        remove_leftovers(folder)
        with _config_of_checkpoint(folder):
            yield


@contextlib.contextmanager
def _config_of_checkpoint(folder: Path) -> Iterator[None]:
    """ESPnet writes ``config.yaml`` before it reads the checkpoint: undo that if the run then
    fails, or had all its epochs already.

    Epochs that are there were made with the old one.
    """
    config, last = folder / "config.yaml", folder / LAST
    before = config.read_text(encoding="utf-8") if config.exists() and last.exists() else None
    stamp = last.stat().st_mtime_ns if last.exists() else 0
    try:
        yield
    finally:
        if before is not None and last.exists() and last.stat().st_mtime_ns == stamp:
            write_text(config, before)


def changed_options(folder: Path, now: Mapping[str, Any]) -> list[str]:
    """What a run that goes on does otherwise than before (``kd_conf.max_bad_steps: 20 -> 7``).

    Args:
        folder: of the run.
        now: nested options by name.
    """
    config = folder / "config.yaml"
    if not (folder / LAST).exists() or not config.is_file():
        return []
    try:
        before = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError):
        return []
    if not isinstance(before, dict):
        return []
    plain = yaml.safe_load(yaml.safe_dump(dict(now)))
    return _differences("", {name: before.get(name) for name in plain}, plain)


def _differences(where: str, before: Any, now: Any) -> list[str]:
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return [f"{where}: {before} -> {now}"] if before != now else []
    keys = [*before, *(key for key in now if key not in before)]
    parts = [
        _differences(f"{where}.{key}" if where else str(key), before.get(key), now.get(key))
        for key in keys
    ]
    return [line for part in parts for line in part]


def remove_leftovers(folder: Path) -> None:
    """Delete temporary files and student folders of writes that a kill cut short (only while
    holding the folder's lock).
    """
    for pattern in (".checkpoint.pth.*", ".*epoch.pth.*", ".*best.pth.*"):
        for path in folder.glob(pattern):
            path.unlink()
    for name in ("student", "student_last"):
        for path in (*folder.glob(f".{name}.*"), *folder.glob(f"..{name}.*")):
            shutil.rmtree(path, ignore_errors=True)


def repair_epoch_file(folder: Path, epoch: int, model: Mapping[str, Any]) -> None:
    """Write ``<epoch>epoch.pth`` again if a kill came between it and ``checkpoint.pth``."""
    path = folder / f"{epoch}epoch.pth"
    if epoch > 0 and not path.exists():
        torch.save(dict(model), path)
        replace_link(folder / "latest.pth", path.name)


def repair_best_links(folder: Path, reporter: Any, criteria: Sequence[Sequence[str]]) -> None:
    """Point ``<phase>.<key>.best.pth`` to the best epoch that the reporter knows of."""
    for phase, key, mode in criteria:
        if not reporter.has(phase, key):
            continue
        best = f"{reporter.get_best_epoch(phase, key, mode)}epoch.pth"
        if (folder / best).exists():
            replace_link(folder / f"{phase}.{key}.best.pth", best)


def replace_link(link: Path, target: str) -> None:
    """Point a symbolic link to ``target`` atomically."""
    temporary = link.with_name(f".{link.name}.link")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    os.replace(temporary, link)
