"""Processes that ESPnet spawns, one per GPU: their errors reach the user as one sentence.

A spawned process prints a traceback and the command ends with torch's account of its exit code.
Here the process leaves its sentence in a file that the command shows.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

from espnet_kd.errors import KDError

REPORT = "ESPNET_KD_ERROR_REPORT"
"""Environment variable with the path of that file."""

PATIENCE = 30.0
"""Seconds that processes get to end before they are killed."""


def report_to_parent(name: str) -> None:
    """In a spawned process: report errors of ours instead of printing a traceback.

    Args:
        name: ``__name__`` of the main module, which calls this at its top: a spawned process
            imports it first of all, as ``__mp_main__``.
    """
    report = os.environ.get(REPORT)
    if report is None or name != "__mp_main__":
        return
    run = BaseProcess.run

    def reporting_run(process: BaseProcess) -> None:
        try:
            run(process)
        except KDError as error:
            with contextlib.suppress(OSError), open(report, "x", encoding="utf-8") as stream:
                stream.write(plain_message(error))  # the first one's; the others end as a result
            sys.exit(1)
        except KeyboardInterrupt:  # the command says it
            sys.exit(1)

    BaseProcess.run = reporting_run  # type: ignore[assignment,method-assign]


@contextlib.contextmanager
def errors_of_children() -> Iterator[None]:
    """Raise what a spawned process reported; end all of them if the block is left otherwise.

    Raises:
        KDError: one of them failed.
    """
    from torch.multiprocessing.spawn import ProcessExitedException

    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "error"
        os.environ[REPORT] = str(report)
        try:
            yield
        except ProcessExitedException as error:
            raise KDError(_reason(report, error)) from None
        except BaseException:
            _end_children()
            raise
        finally:
            os.environ.pop(REPORT, None)


def _reason(report: Path, error: Exception) -> str:
    text = report.read_text(encoding="utf-8") if report.exists() else ""
    if text:
        return text
    end = str(error).replace("terminated", "ended")
    hint = "; the system's log may say why (often: too little memory)" if "signal" in end else ""
    return f"{end}{hint}; what it said itself is above"


def _end_children() -> None:
    """Python would wait for them at its exit."""
    left = [child for child in multiprocessing.active_children() if not child.daemon]
    for child in left:
        child.terminate()
    for child in left:
        child.join(PATIENCE)
        if child.is_alive():
            child.kill()


def plain_message(error: Exception) -> str:
    """The message, without the traceback that a data loading worker wraps around it."""
    text = str(error)
    if not text.startswith("Caught "):
        return text
    name = type(error).__name__
    return text.rpartition(f"{name}: ")[2].strip() or text
