"""Keep the published seconds of speech per update, and its number of updates, on any GPUs.

``seconds_plan.py --config conf/dphubert/dphubert_960h_phase1.yaml --processes 2`` prints seconds
per batch (of one process), ESPnet's ``--accum_grad`` and its ``--num_iters_per_epoch``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml

PUBLISHED_GPUS = 4
SECONDS_PER_BATCH = 160.0
LONGEST = 15.625
"""Published, and the defaults of ``kd_conf.batching``."""


def plan(seconds: float, processes: int, most: float, longest: float) -> tuple[float, int]:
    """``(seconds_per_batch, accum_grad)`` with their product times ``processes`` == ``seconds``.

    Args:
        seconds: of speech per update.
        processes: GPUs of all nodes; at least 1.
        most: seconds that fit on one GPU.
        longest: seconds of the longest utterance, which a batch must hold.

    Raises:
        ValueError: no batch is long enough.
    """
    accum_grad = 1
    while seconds / (processes * accum_grad) > most:
        accum_grad += 1
    per_batch = seconds / (processes * accum_grad)
    if per_batch < longest:
        raise ValueError(
            f"{seconds:g} s per update over {processes} processes of at most {most:g} s leave "
            f"{per_batch:g} s for a batch, but an utterance may have {longest:g} s: use fewer "
            "GPUs, or raise --seconds_per_update or --per_gpu"
        )
    return per_batch, accum_grad


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--processes", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=0, help="per update, 0 = published")
    parser.add_argument("--per_gpu", type=float, default=0, help="seconds at most, 0 = published")
    args = parser.parse_args()
    conf: dict[str, Any] = yaml.safe_load(args.config.read_text(encoding="utf-8"))
    batching = conf["kd_conf"]["batching"]
    accumulated = conf.get("accum_grad", 1)
    published = batching.get("seconds_per_batch", SECONDS_PER_BATCH)
    seconds = args.seconds or PUBLISHED_GPUS * accumulated * published
    longest = batching.get("max_seconds", LONGEST)
    try:
        per_batch, accum_grad = plan(
            seconds, max(1, args.processes), args.per_gpu or published, longest
        )
    except ValueError as error:
        sys.exit(f"seconds_plan.py: {error}")
    updates = conf["num_iters_per_epoch"] // accumulated
    print(f"{per_batch:.6g} {accum_grad} {updates * accum_grad}")


if __name__ == "__main__":
    main()
