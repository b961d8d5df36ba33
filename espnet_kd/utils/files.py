"""Atomic writes: a reader sees the old file or the new one, never half of either."""

from __future__ import annotations

import contextlib
import fnmatch
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from espnet_kd.errors import KDError


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that replaces it when the block succeeds.

    The temporary file is removed on any failure and the old file stays as it was.

    Raises:
        KDError: the disk is full or the folder is not writable (names path and free bytes).
    """
    target = Path(path)
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        _flush_to_disk(temporary)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
    except OSError as error:
        raise KDError(write_failure(target, error)) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike[str], *, replaces: Iterable[str]) -> Iterator[Path]:
    """Yield a temporary folder beside ``path`` that takes its place when the block succeeds.

    Files that belong together thus appear together. An earlier folder there disappears only then.

    Args:
        path: folder to write.
        replaces: patterns of the names (``*.json``) that an earlier folder may hold.

    Raises:
        KDError: an earlier folder holds other things too, the disk is full, or the place is not
            writable.
    """
    target = Path(path)
    temporary: Path | None = None
    try:
        refuse_strangers(target, replaces)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                _flush_to_disk(file)
        temporary.chmod(0o777 & ~_umask())
        _take_place(temporary, target)
    except OSError as error:
        raise KDError(write_failure(target, error)) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def refuse_strangers(target: Path, replaces: Iterable[str]) -> None:
    """A folder with the user's other files must not disappear.

    Args:
        target: folder that is to be replaced as a whole.
        replaces: patterns of the names (``*.json``) that it may hold.

    Raises:
        KDError: it holds other things too, or is a file.
    """
    patterns = list(replaces)
    if not target.exists():
        return
    if not target.is_dir():
        raise KDError(f"{target} is a file; choose another name for the folder")
    strangers = sorted(
        entry.name
        for entry in target.iterdir()
        if entry.is_dir() or not any(fnmatch.fnmatch(entry.name, p) for p in patterns)
    )
    if strangers:
        raise KDError(
            f"{target} holds other things too ({', '.join(strangers[:5])}), which would be lost; "
            "choose a new folder, or move them away"
        )


def _take_place(new: Path, target: Path) -> None:
    """Put ``new`` where ``target`` is; what was there stays until then."""
    if not target.exists():
        new.replace(target)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
    target.replace(old)
    try:
        new.replace(target)
    except OSError:
        old.replace(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def probe_folder(path: str | os.PathLike[str]) -> None:
    """Make the folder and write to it, before work whose results are to go there.

    Raises:
        KDError: it cannot be written.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as stream:
            stream.write(b"x")
    except OSError as error:
        raise KDError(write_failure(folder, error)) from error


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write ``text`` (UTF-8) to ``path`` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write ``value`` as indented JSON to ``path`` atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _flush_to_disk(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def write_failure(target: Path, error: OSError) -> str:
    """One sentence on why ``target`` cannot be written, and what to do."""
    try:
        free = f"{shutil.disk_usage(target.parent).free:,} bytes free there"
    except OSError:
        free = "its folder cannot be read"
    reason = error.strerror or str(error)
    return (
        f"cannot write {target}: {reason} ({free}). "
        "What was there before is untouched; free some space or choose another folder."
    )
