"""Any command of ESPnet with our names known: ``python -m espnet_kd.bin.espnet asr_train ...``."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence

from espnet_kd.bin.run import run_command
from espnet_kd.errors import ConfigError
from espnet_kd.registry import register

register()  # at the top: spawned children import this module and need the names too


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
    if name.endswith("_train"):
        _resolve_encoder(module, rest)
    module.main(rest)


def _resolve_encoder(module: object, words: list[str]) -> None:
    """Store the student's configuration in the options: decoding then needs no student folder."""
    task = next(
        (value for key, value in vars(module).items() if key.endswith("Task") and key != "AbsTask"),
        None,
    )
    if task is None:
        return
    args, _ = task.get_parser().parse_known_args(words)
    if getattr(args, "encoder", None) == "kd_student":
        from espnet_kd.tasks.asr_encoder import resolve_encoder_conf

        conf = resolve_encoder_conf(dict(args.encoder_conf))
        words += ["--encoder_conf", repr(conf)]


if __name__ == "__main__":
    sys.exit(main())
