"""Keep the published number of utterances per update on any number of GPUs.

``batch_plan.py --config conf/armhubert/armhubert_960h.yaml --processes 8`` prints ESPnet's
``--batch_size`` (utterances of one batch over all processes) and ``--accum_grad``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import yaml

PUBLISHED_GPUS = 2


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
    parser.add_argument("--per_gpu", type=int, default=0, help="at most, 0 = published")
    args = parser.parse_args()
    conf = yaml.safe_load(args.config.read_text(encoding="utf-8"))
    utterances = args.utterances or conf["batch_size"] * conf["accum_grad"]
    most = args.per_gpu or conf["batch_size"] // PUBLISHED_GPUS
    try:
        print(*plan(utterances, max(1, args.processes), most))
    except ValueError as error:
        sys.exit(f"batch_plan.py: {error}")


if __name__ == "__main__":
    main()
