"""One run per output folder: the second one is refused."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from espnet_kd.errors import KDError
from espnet_kd.utils.files import write_failure

LOCK_NAME = ".running"


@contextlib.contextmanager
def output_dir_lock(folder: Path) -> Iterator[None]:
    """Hold ``folder`` for this process.

    A POSIX record lock: it ends with the process however that dies, it is not inherited by data
    loading workers, and it works on NFS.

    Raises:
        KDError: another process holds it (its host and process id are named), or it cannot be
            written.
    """
    with _opened(folder) as stream:
        try:
            fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            stream.seek(0)
            holder = stream.read().strip() or "unknown"
            raise KDError(
                f"another run is writing to {folder} ({holder}); wait for it, stop it, "
                "or choose another --output_dir"
            ) from error
        stream.truncate(0)
        stream.write(f"process {os.getpid()} on {socket.gethostname()}")
        stream.flush()
        yield


def _opened(folder: Path) -> TextIO:
    """The lock's file, open; not inside the caller's block, whose errors are not ours."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return (folder / LOCK_NAME).open("a+", encoding="utf-8")
    except OSError as error:
        raise KDError(write_failure(folder, error)) from error
