"""Make the physically smaller student of a pruning run.

``python -m espnet_kd.bin.prune --exp EXP --out DIR``
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_kd.bin.run import run_command


def main(cmd: Sequence[str] | None = None) -> int:
    """Write the pruned student, a table and pictures of what was removed; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--exp", type=Path, required=True, help="folder of the run (with config.yaml)"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument(
        "--epoch", default="latest", help="epoch file without .pth, or an epoch's number"
    )
    parser.add_argument(
        "--exact",
        action="store_true",
        help="keep the feature LayerNorm's statistics, so that outputs stay the gated model's",
    )
    parser.add_argument(
        "--fit_target",
        action="store_true",
        help="close or open the least decided units until the size is the one asked for",
    )
    args = parser.parse_args(cmd)
    options = {"exact": args.exact, "fit_target": args.fit_target}
    return run_command(lambda: prune(args.exp, args.out, args.epoch, **options))


def prune(
    exp: Path,
    target: Path,
    epoch: str = "latest",
    *,
    exact: bool = False,
    fit_target: bool = False,
) -> None:
    """Prune one epoch of a run.

    Args:
        exp: the run's ``--output_dir``.
        target: gets ``config.json``, ``model.safetensors``, ``pruning.{json,txt,png}``, and of
            layer-wise distillation the projections for the second phase.
        epoch: epoch file without ``.pth``.
        exact: see :func:`espnet_kd.pruning.prune_encoder`.
        fit_target: see :mod:`espnet_kd.pruning.fit`.

    Raises:
        CheckpointError: ``exp`` is no pruning run, or the epoch file is missing or damaged.
        PruningError: the gates leave no encoder.
        KDError: ``target`` holds something else than an earlier export, or cannot be written.
    """
    # Here, so that --help does not wait for ESPnet's 20 seconds of import.
    from espnet_kd.bin.export import load_run
    from espnet_kd.errors import CheckpointError
    from espnet_kd.evaluation.pruning import draw_pruning
    from espnet_kd.tasks.export import export_epoch, refuse_other_folder
    from espnet_kd.tasks.pruning import LOG, REPORT, read_log
    from espnet_kd.tasks.ssl_model import SSLDistillModel
    from espnet_kd.utils.model_directory import read_json

    refuse_other_folder(target)
    model = load_run(exp)
    if not isinstance(model, SSLDistillModel) or model.pruning is None:
        raise CheckpointError(
            f"{exp} is a run without gates; train with kd_conf.pruning, or use bin.export"
        )
    model.pruning.options.exact_statistics |= exact
    model.pruning.options.fit_target |= fit_target
    export_epoch(model, exp, epoch, target)
    report = read_json(target / REPORT)
    log = read_log(exp / LOG) if (exp / LOG).exists() else []
    draw_pruning(report, log, target / "pruning.png")
    print((target / "pruning.txt").read_text(encoding="utf-8"), end="")
    print(
        f"target: {report['target']:.2%} of the {report['measure']} removed; "
        f"reached: {report['reached']:.2%}"
    )
    if report["off_target"] > 0.01:
        print(
            "note: more than 1 % off the target; has training reached the end of its schedule? "
            "--fit_target cuts to the size asked for"
        )


if __name__ == "__main__":
    sys.exit(main())
