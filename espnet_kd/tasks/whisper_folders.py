"""Which folders a command line trains and validates on."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

MODES = ("train", "valid")


def folders_of(args: argparse.Namespace, mode: str) -> list[Path]:
    """Folders of ``--train_dir`` or ``--valid_dir``, or those of ESPnet's streams.

    Args:
        args: the command line.
        mode: ``train`` or ``valid``.
    """
    given = getattr(args, f"{mode}_dir")
    if given:
        return [Path(folder) for folder in ([given] if isinstance(given, str) else given)]
    streams = getattr(args, f"{mode}_data_path_and_name_and_type")
    return list(dict.fromkeys(Path(path).parent for path, _, _ in streams))


def folder_problems(args: argparse.Namespace) -> list[str]:
    """What is wrong with the folders of a command line, as far as it shows without looking."""
    problems = []
    for mode in MODES:
        streams = getattr(args, f"{mode}_data_path_and_name_and_type")
        option = f"{mode}_data_path_and_name_and_type"
        if not folders_of(args, mode):
            problems.append(f"no --{mode}_dir is given: a folder with wav.scp and labels or text")
        if getattr(args, f"{mode}_dir"):
            if streams:
                problems.append(f"--{mode}_dir and --{option} are both given; leave one out")
        elif streams:
            problems += [f"{option}: {problem}" for problem in _stream_problems(streams)]
    return problems


def _stream_problems(streams: Sequence[tuple[str, str, str]]) -> list[str]:
    """Streams are a long way to name one folder."""
    problems = []
    paths = {name: Path(path) for path, name, _ in streams}
    if "speech" not in paths or paths["speech"].name != "wav.scp":
        problems.append("no FOLDER/wav.scp,speech,sound")
    unknown = [name for name in paths if name not in ("speech", "text", "labels")]
    if unknown:
        problems.append(f"stream {', '.join(unknown)} is not used; speech, text and labels are")
    if len({path.parent for path in paths.values()}) > 1:
        problems.append("all streams must be files of one folder; for several folders use --*_dir")
    return problems


def names_of(folders: Sequence[Path]) -> list[str]:
    """Short names that differ."""
    short = [folder.resolve().name for folder in folders]
    if len(set(short)) == len(short):
        return short
    return [f"{number}_{name}" for number, name in enumerate(short)]
