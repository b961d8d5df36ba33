"""How commands of ours end: one message instead of a traceback, and a documented exit code."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from types import FrameType

from espnet_kd.bin.spawned import errors_of_children, plain_message
from espnet_kd.errors import KDError

INTERRUPTED, TERMINATED = 130, 143
"""Exit codes after Ctrl-C and after SIGTERM (128 + signal)."""


class TerminatedError(BaseException):
    """SIGTERM arrived (a BaseException, so that no handler of errors swallows it)."""


def run_command(
    main: Callable[[], object], *, resumable: bool = False, saved: str = "All completed epochs"
) -> int:
    """Run ``main`` and return the exit code.

    Args:
        main: the command.
        resumable: it goes on where it stopped when it is started again.
        saved: what an interruption does not lose.
    """
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        with errors_of_children():
            main()
    except KDError as error:
        print(f"error: {plain_message(error)}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, TerminatedError) as stop:
        code = TERMINATED if isinstance(stop, TerminatedError) else INTERRUPTED
        how = "interrupted" if code == INTERRUPTED else "terminated"
        advice = f". {saved} are saved; to go on, start the same command again:\n  "
        print(f"\n{how}{advice + _command() if resumable else ''}", file=sys.stderr)
        return code
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


def _command() -> str:
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    program = f"-m {spec.name}" if spec is not None else sys.argv[0]
    return " ".join([sys.executable, program, *(_quoted(word) for word in sys.argv[1:])])


def _quoted(word: str) -> str:
    import shlex

    return shlex.quote(word)


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise TerminatedError
