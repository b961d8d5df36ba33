"""Export any epoch of a distillation run.

``python -m espnet_kd.bin.export --exp EXP --epoch 7 --dst DIR``
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from espnet_kd.bin.run import run_command
from espnet_kd.errors import CheckpointError

if TYPE_CHECKING:
    from espnet_kd.tasks.hooks import RunHooks


def main(cmd: Sequence[str] | None = None) -> int:
    """Write a student folder from an epoch file; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--exp", type=Path, required=True, help="folder of the run (with config.yaml)"
    )
    parser.add_argument(
        "--epoch",
        help="epoch file without .pth, or an epoch's number (default: the mean of the best epochs)",
    )
    parser.add_argument("--dst", type=Path, required=True, help="folder to write")
    args = parser.parse_args(cmd)
    return run_command(lambda: export(args.exp, args.epoch, args.dst))


def export(exp: Path, epoch: str | None, target: Path) -> None:
    """Write the student of one epoch file.

    Raises:
        CheckpointError: ``exp`` is no run of ours, or the epoch file is missing or damaged.
        KDError: ``target`` holds something else than an earlier export, or cannot be written.
    """
    conf = read_conf(exp)
    from espnet_kd.tasks.export import export_epoch, refuse_other_folder

    refuse_other_folder(target)
    if epoch is None:
        phase, key, _ = conf["best_model_criterion"][0]
        epoch = f"{phase}.{key}.ave"
    export_epoch(load_run(exp), exp, epoch, target)


def read_conf(exp: Path) -> dict[str, Any]:
    """Configuration of a run.

    Raises:
        CheckpointError: ``exp`` is no run of ours.
    """
    path = exp / "config.yaml"
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; {exp} must be the --output_dir of a run")
    try:
        conf: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise CheckpointError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(conf, dict) or not {"student_resolved", "kd_task"} & conf.keys():
        raise CheckpointError(
            f"{path} was not written by ssl_distill_train or whisper_distill_train; there is "
            "nothing to export"
        )
    return conf


def load_run(exp: Path) -> RunHooks:
    """The model of a run, built from its configuration, without its weights.

    Raises:
        CheckpointError: ``exp`` is no run of ours.
    """
    conf = read_conf(exp)
    # Here, so that a wrong path is told before ESPnet's 20 seconds of import.
    if conf.get("kd_task") == "whisper_distill":
        from espnet_kd.tasks.whisper_distill import WhisperDistillTask

        return WhisperDistillTask.build_model(argparse.Namespace(**conf))
    from espnet_kd.encoder import SpeechEncoder, SpeechEncoderConfig
    from espnet_kd.tasks.options import DistillConfig
    from espnet_kd.tasks.ssl_model import SSLDistillModel

    student = SpeechEncoder.from_config(SpeechEncoderConfig.from_dict(conf["student_resolved"]))
    return SSLDistillModel(student, DistillConfig.from_dict(conf["kd_conf"]), conf["seed"])


if __name__ == "__main__":
    sys.exit(main())
