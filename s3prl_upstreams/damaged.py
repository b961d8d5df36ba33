"""Going on after a kill: checkpoints that were cut off are passed over, or said."""

from __future__ import annotations

import struct
import sys
import zipfile
from pathlib import Path

from espnet_kd.errors import CheckpointError
from s3prl_upstreams.flows import saved_states
from s3prl_upstreams.invocation import STATES, Invocation

ASIDE = "unreadable-"
"""Put before the name of a checkpoint that was passed over: S3PRL sees it no more."""

_DAMAGE = (OSError, EOFError, ValueError, NotImplementedError, struct.error, zipfile.BadZipFile)


def choose_states(call: Invocation) -> None:
    """See to it that S3PRL goes on with a checkpoint that can be read.

    With ``-a``, and ``-e`` of a folder, S3PRL takes the latest one. Those that are cut off are
    renamed, so that it takes the one before.

    Raises:
        CheckpointError: there is none, or the given file is cut off.
    """
    if call.goes_on:
        for left_by_a_kill in call.folder.glob(".*.ckpt.*"):
            left_by_a_kill.unlink(missing_ok=True)
        pass_over_damaged(call.folder)
    if call.past_exp is None or (call.goes_on and saved_states(call.folder)):
        return
    given = Path(call.past_exp)
    if given.is_dir():
        pass_over_damaged(given)
    elif given.is_file() and not is_whole(given):
        raise _cut_off(given)


def is_whole(path: Path) -> bool:
    """Whether a checkpoint was written to its end: a kill or a full disk cuts it off."""
    try:
        with path.open("rb") as stream:
            start = stream.read(1)
        if start == b"\x80":  # torch's format before 1.6 has no check sums
            return True
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except _DAMAGE:
        return False


def pass_over_damaged(folder: Path) -> None:
    """Rename the latest regular checkpoints of a folder as far as they are cut off.

    Raises:
        CheckpointError: no other is left, or one cannot be renamed; nothing is changed then.
    """
    states = saved_states(folder)
    damaged: list[Path] = []
    while states and not is_whole(states[-1]):
        damaged.append(states.pop())
    if damaged and not states:
        raise _cut_off(damaged[0])
    for path in damaged:
        aside = _put_aside(path)
        print(
            f"[espnet_kd] {path} is cut off (a kill, a full disk): renamed to {aside.name}, "
            f"{states[-1].name} is taken",
            file=sys.stderr,
        )


def _put_aside(path: Path) -> Path:
    aside = path.with_name(ASIDE + path.name)
    try:
        path.replace(aside)
    except FileNotFoundError:
        pass  # another process of a distributed run was quicker
    except OSError as error:
        raise CheckpointError(f"{path} is cut off, remove it: {error.strerror}") from error
    return aside


def _cut_off(path: Path) -> CheckpointError:
    what = f"{path} is cut off (a kill or a full disk; {path.stat().st_size:,} bytes)"
    if not path.match(STATES):
        remedy = "remove it; the training's command with -a does without it"
        return CheckpointError(f"{what}: {remedy}")
    others = sorted(set(path.parent.glob("*best*.ckpt")) - {path})
    whole = [other for other in others if is_whole(other)]
    remedy = f"go on from {whole[0]} with -e in place of -a, or " if whole else ""
    return CheckpointError(f"{what}: {remedy}remove it, and the training begins anew")
