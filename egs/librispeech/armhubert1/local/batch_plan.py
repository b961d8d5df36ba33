"""Keep the published number of utterances per update on any number of GPUs.

``batch_plan.py --config conf/armhubert/armhubert_960h.yaml --processes 8`` prints ESPnet's
``--batch_size`` (utterances of one batch over all processes) and ``--accum_grad``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import yaml

from egs.TEMPLATE.update_plan import plan

PUBLISHED_GPUS = 2


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
