"""Any command of ESPnet with our names known: ``python -m espnet_kd.bin.espnet asr_train ...``."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType

from espnet_kd.bin.run import run_command
from espnet_kd.bin.spawned import report_to_parent
from espnet_kd.errors import ConfigError
from espnet_kd.registry import register

# At the top: spawned children import this module and need the names too.
register()
report_to_parent(__name__)


def main(cmd: Sequence[str] | None = None) -> int:
    """Run ``espnet2.bin.<first word>`` with the other words; returns the exit code."""
    words = list(sys.argv[1:] if cmd is None else cmd)
    return run_command(lambda: _run(words))


def _run(words: Sequence[str]) -> None:
    if not words or words[0].startswith("-"):
        raise ConfigError(
            "espnet_kd.bin.espnet", ["name a command first, e.g. asr_train or asr_inference"]
        )
    name, rest = words[0], list(words[1:])
    if importlib.util.find_spec(f"espnet2.bin.{name}") is None:
        raise ConfigError("espnet_kd.bin.espnet", [f"ESPnet has no command {name}"])
    module = importlib.import_module(f"espnet2.bin.{name}")
    if name.endswith("_train") and _train_with_student(module, rest):
        return
    module.main(rest)


def _train_with_student(module: ModuleType, words: Sequence[str]) -> bool:
    """Train with ``encoder: kd_student``, its configuration stored: decoding needs no folder then.

    Returns:
        False if the encoder is another one; nothing has been done then.
    """
    tasks = [value for key, value in vars(module).items() if key.endswith("Task")]
    if len(tasks) != 1:
        return False
    parser = tasks[0].get_parser()
    known, _ = parser.parse_known_args(words)
    if getattr(known, "encoder", None) != "kd_student" or known.print_config:
        return False
    from espnet_kd.tasks.asr_encoder import resolve_encoder_conf

    args = parser.parse_args(words)
    args.encoder_conf = resolve_encoder_conf(dict(args.encoder_conf))
    tasks[0].main(args=args)
    return True


if __name__ == "__main__":
    sys.exit(main())
