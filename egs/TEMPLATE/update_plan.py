"""Keep the published utterances per update, and the number of updates, on any number of GPUs.

``update_plan.py --config conf/distil_whisper/distil_hindi.yaml --processes 8 --per_gpu 16`` prints
ESPnet's ``--batch_size`` (utterances of one batch over all processes), ``--accum_grad`` and
``--num_iters_per_epoch`` (``none`` where an epoch is the data).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import yaml


def plan(utterances: int, processes: int, most: int) -> tuple[int, int]:
    """``(batch_size, accum_grad)`` with ``batch_size * accum_grad == utterances``.

    The largest batch that fits. ESPnet may give one process an utterance more than another; it
    weighs them by their number, so an update is the same.

    Args:
        utterances: per update.
        processes: GPUs of all nodes; at least 1.
        most: utterances that fit on one GPU.

    Raises:
        ValueError: there are too few utterances for so many processes.
    """
    for batch in range(min(utterances, most * processes), processes - 1, -1):
        if utterances % batch == 0:
            return batch, utterances // batch
    raise ValueError(
        f"{utterances} utterances per update cannot be shared by {processes} processes of at most "
        f"{most}: use fewer GPUs, or change --utterances_per_update or --per_gpu"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--processes", type=int, required=True)
    parser.add_argument("--utterances", type=int, default=0, help="per update, 0 = published")
    parser.add_argument("--per_gpu", type=int, required=True, help="at most")
    args = parser.parse_args()
    conf = yaml.safe_load(args.config.read_text(encoding="utf-8"))
    accumulated = conf.get("accum_grad", 1)
    utterances = args.utterances or conf["batch_size"] * accumulated
    try:
        batch, accum_grad = plan(utterances, max(1, args.processes), args.per_gpu)
    except ValueError as error:
        sys.exit(f"update_plan.py: {error}")
    batches = conf.get("num_iters_per_epoch")
    print(batch, accum_grad, batches // accumulated * accum_grad if batches else "none")


if __name__ == "__main__":
    main()
