"""Fill what a downstream configuration leaves open: the common part of all tasks.

A value that the user set and that is there stays. What is empty, or points to nothing (S3PRL's
stock files name folders of their authors), is looked for under ``--data`` and in our package.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from espnet_kd.errors import DataDirError

Config = dict[str, Any]


class Filler:
    """Fills one configuration in place and collects what it could not find.

    Args:
        config: the whole configuration of the run; changed in place.
        data: folder of ``--data``, or None.
        expdir: experiment folder, for files that have to be made.
        splits: names of splits to be evaluated besides the configured ones.
    """

    def __init__(
        self, config: Config, data: str | None, expdir: str, splits: Iterable[str] = ()
    ) -> None:
        self.config = config
        self.data = None if data is None else Path(data)
        self.expdir = Path(expdir)
        self.splits = tuple(splits)
        self.problems: list[str] = []

    def block(self, name: str) -> Config:
        """Return a block of ``downstream_expert``, made when it is not there."""
        block: Config = self.config.setdefault("downstream_expert", {}).setdefault(name, {})
        return block

    def folder(
        self, block: str, key: str, names: Iterable[str], needed: Iterable[str] = ()
    ) -> Path | None:
        """Return the folder at ``block.key``, looked for under ``--data`` when it is not there.

        Args:
            block: such as ``datarc``.
            key: such as ``file_path``.
            names: where it may lie in ``--data``; ``.`` = that folder itself.
            needed: folders or files that it must hold; ``*`` stands for any name.

        Returns:
            The folder, or None and a note of what it lacks.
        """
        parts, value = list(needed), self.block(block).get(key)
        if is_dir(value):
            return self._whole(block, key, Path(str(value)), parts)
        folders = [] if self.data is None else [(self.data / name).absolute() for name in names]
        lacks = {folder: lacking(folder, parts) for folder in folders if folder.is_dir()}
        for folder in (folder for folder, lack in lacks.items() if not lack):
            self.block(block)[key] = str(folder)
            return folder
        reason = f"{value} is not there" if value else _none_given(lacks, parts)
        self.missing(block, key, reason)
        return None

    def _whole(self, block: str, key: str, folder: Path, needed: list[str]) -> Path | None:
        """Return the folder that the user gave if it holds what is needed."""
        lack = lacking(folder, needed)
        if not lack:
            return folder
        self.missing(block, key, f"{folder} lacks {', '.join(lack)}")
        return None

    def compare(self, problems: Callable[[], Iterable[str]]) -> None:
        """Add the problems that a look at the lists of a corpus finds."""
        try:
            self.problems += problems()
        except DataDirError as error:
            self.problems.append(str(error))

    def file(
        self, block: str, key: str, folders: Iterable[Path | None], names: Iterable[str]
    ) -> Path | None:
        """Return the file at ``block.key``, looked for in ``folders`` when it is not there."""
        value = self.block(block).get(key)
        if is_file(value):
            return Path(str(value))
        places = [folder for folder in folders if folder is not None]
        for path in (folder / name for folder in places for name in names):
            if path.is_file():
                self.block(block)[key] = str(path.absolute())
                return path
        reason = f"{value} is not there" if value else f"no {' or '.join(names)}"
        where = f" in {' or '.join(map(str, places))}" if places else ""
        self.missing(block, key, f"{reason}{where}")
        return None

    def missing(self, block: str, key: str, reason: str) -> None:
        """Note a place that stays open."""
        self.problems.append(
            f"{block}.{key}: {reason}. Give --data DIR "
            f"or -o \"config.downstream_expert.{block}.{key}='PATH'\""
        )


def lacking(folder: Path, needed: Iterable[str]) -> list[str]:
    """Return what a folder does not hold of what is needed; ``*`` stands for any name."""
    return [part for part in needed if not _holds(folder, part)]


def _holds(folder: Path, part: str) -> bool:
    return any(folder.glob(part)) if "*" in part else (folder / part).exists()


def _none_given(lacks: dict[Path, list[str]], needed: list[str]) -> str:
    """Say what the folder lacks that comes closest, if one looks like the corpus at all."""
    closest = min(lacks, key=lambda folder: len(lacks[folder]), default=None)
    if closest is not None and len(lacks[closest]) < len(needed):
        return f"{closest} lacks {', '.join(lacks[closest])}"
    parts = f" with {', '.join(needed)} in it" if needed else ""
    return f"no folder{parts} was given"


def cache_folder(config: Config, expdir: str) -> Path:
    """Return a folder in the experiment for lists of files, one per data root and list.

    S3PRL keeps such lists inside its installed package under the split's name alone, so that a
    second corpus silently gets the first one's files.
    """
    block = config.get("downstream_expert", {}).get("datarc", {})
    key = f"{block.get('file_path')}|{block.get('meta_data')}"
    return Path(expdir).absolute() / f".cache-{digest(key)}"


def digest(value: object) -> str:
    """Return eight characters that stand for a value in a file name."""
    return hashlib.sha256(str(value).encode()).hexdigest()[:8]


def is_file(path: Any) -> bool:
    """Whether a value of a configuration is a file that is there."""
    return bool(path) and Path(str(path)).is_file()


def is_dir(path: Any) -> bool:
    """Whether a value of a configuration is a folder that is there."""
    return bool(path) and Path(str(path)).is_dir()
