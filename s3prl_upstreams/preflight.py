"""What S3PRL would trip over in ``-c``, ``-o``, ``-p`` and ``-e``, found before it is imported.

S3PRL reads them after 20 s of imports and ends in a traceback of its own.
"""

from __future__ import annotations

import os
import re
import zipfile
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from espnet_kd.errors import CheckpointError, ConfigError
from s3prl_upstreams.configs import read_yaml
from s3prl_upstreams.damaged import is_whole
from s3prl_upstreams.flows import saved_states
from s3prl_upstreams.invocation import STATES, Invocation

_PARTS: dict[str, type] = {"Args": Namespace, "Config": Mapping, "Downstream": Mapping}
"""What S3PRL takes from a checkpoint of a downstream run; the rest of it is optional."""

_KEY = re.compile(r"args\.[^.\s]+|config(\.[^.\s]+)+")
"""Of a change by ``-o``; S3PRL drops one that begins otherwise without a word."""


def option_problems(call: Invocation) -> list[str]:
    """Return one sentence on each option whose file, folder or text S3PRL cannot use."""
    call = call.completed(config=None, device="cpu")  # gives the experiment folder its name
    found = [*_config_problems(call), *_override_problems(call), *_folder_problems(call)]
    return found + _checkpoint_problems(call)


def _config_problems(call: Invocation) -> list[str]:
    if call.config is None:
        return []
    if not os.path.exists(call.config):
        return [f"-c {call.config}: there is no such file; correct the path"]
    try:
        read_yaml(Path(call.config))
    except ConfigError as error:
        return [f"-c {call.config}: {_one_line(problem)}" for problem in error.problems]
    except (ValueError, RecursionError) as error:  # such as a date that does not exist
        return [f"-c {call.config}: cannot be read: {_one_line(error)}"]
    return []


def _one_line(text: object) -> str:
    return " ".join(str(text).split())


def _override_problems(call: Invocation) -> list[str]:
    if call.override is None:
        return []
    return [
        f"-o: {part.strip()!r} {problem}"
        for part in call.override.split(",,")
        if (problem := _part_problem(part)) is not None
    ]


def _part_problem(part: str) -> str | None:
    key, *values = part.split("=")
    if not values:
        return "has no =; write KEY=VALUE, with ,, between several"
    if len(values) > 1:
        return "has more than one =, and S3PRL splits at each; put such a value into a -c file"
    if _KEY.fullmatch(key.strip()) is None:
        return "must begin with config.NAME= or args.NAME=, such as config.optimizer.lr=1e-3"
    return None


def _folder_problems(call: Invocation) -> list[str]:
    if call.expdir == "":
        return ["-p: the name is empty; give a folder"]
    # The nearest thing there, of which a broken link is one: S3PRL makes the folders below it.
    folder = call.folder.absolute()
    there = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not there.is_dir():
        return [f"-p {call.folder}: {there} is not a folder; give -p another name"]
    if not os.access(there, os.W_OK | os.X_OK):
        return [f"-p {call.folder}: no permission to write in {there}; give -p another folder"]
    return []


def _checkpoint_problems(call: Invocation) -> list[str]:
    option, given = _first_states(call)
    if given is None:
        return []
    try:
        path = Path(given) if option == "-i" else _resumed_file(Path(given))
        if path is None:
            return []
        stored = _check_content(path)
    except CheckpointError as error:
        return [f"{option}: {error}"]
    return [] if option == "-i" else _mismatches(call, option, path, stored)


def _first_states(call: Invocation) -> tuple[str, str | None]:
    """Return the option that gives S3PRL its first checkpoint, and which; others are dropped."""
    if call.takes_states:
        return "-a", str(call.folder)
    return ("-i", call.init_ckpt) if call.past_exp is None else ("-e", call.past_exp)


def _mismatches(call: Invocation, option: str, path: Path, stored: Namespace) -> list[str]:
    """Name what the command wants and the checkpoint, to which S3PRL listens, is not of."""
    remedy = "give -p another folder" if option == "-a" else "leave it out"
    given = {
        "-u": ("upstream", call.upstream),
        "-d": ("downstream", call.downstream),
        "--superb_variant": ("superb_variant", call.variant),
    }
    return [
        f"{flag} {now}: {path}, with which {option} goes on, is of {flag} {before}; {remedy}"
        for flag, (name, now) in given.items()
        if now is not None and (before := getattr(stored, name, now)) != now
    ]


def _resumed_file(given: Path) -> Path | None:
    """Return the checkpoint that will be taken: the latest whole one of a folder.

    None = all are cut off, of which damaged.py tells more.
    """
    if not given.is_dir():
        return given
    try:
        states = saved_states(given)
    except ValueError as error:
        problem = f"a {STATES} is not named by its step; rename it or name the file to use"
        raise CheckpointError(f"{given}: {problem}") from error
    if not states:
        raise CheckpointError(f"{given} holds no {STATES}; name a checkpoint in it")
    return next(filter(is_whole, reversed(states)), None)


def _check_content(path: Path) -> Namespace:
    """Return the arguments that a checkpoint was made with."""
    content = _read_keys(path)
    is_map = isinstance(content, Mapping)
    missing = [n for n, kind in _PARTS.items() if not (is_map and isinstance(content.get(n), kind))]
    if missing:
        raise CheckpointError(
            f"{path} is no checkpoint of a downstream run: it lacks {', '.join(missing)}; "
            f"name a {STATES} or *-best.ckpt that S3PRL saved (-k takes the upstream's)"
        )
    stored: Namespace = content["Args"]
    return stored


def _read_keys(path: Path) -> Any:
    """Read a checkpoint safely, and leave weights on the disk where its format allows that."""
    from torch.utils.serialization import config

    from espnet_kd.checkpoints.unpickle import read_pickle

    on_disk = path.is_file() and zipfile.is_zipfile(path)  # torch < 1.6 wrote plain pickles
    with config.patch({"load.mmap": on_disk}):  # type: ignore[attr-defined]
        return read_pickle(path)
