"""CPU time and memory of a student's forward pass next to HuBERT Base in transformers.

Random weights, white noise, all hidden states returned, no gradients; the models take turns in one
process, memory is taken in a fresh process each. Run: ``python benchmarks/inference.py``.
"""

from __future__ import annotations

from collections.abc import Callable

import common
import torch
from torch import Tensor

from espnet_kd.encoder import SpeechEncoder
from espnet_kd.encoder.architectures import architecture
from espnet_kd.evaluation.timing import measure, noise, use_threads

SECONDS = 10.0
GOALS = {"1 × 10 s": 0.33, "4 × 10 s": 0.42}


def forward_of(name: str) -> Callable[[Tensor], object]:
    """A function from samples to all hidden states."""
    if name == common.ANCHOR:
        anchor = common.hubert_base()
        return lambda x_BS: anchor(x_BS, output_hidden_states=True)
    torch.manual_seed(0)
    return SpeechEncoder.from_config(architecture(name)).eval()


def main() -> None:
    """Time all models for both batch sizes."""
    parser = common.parser(__doc__)
    parser.add_argument("--models", nargs="+", default=["armhubert"], help="our architectures")
    parser.add_argument("--batch", type=int, default=1, help="only with --memory_of")
    args = parser.parse_args()
    if args.memory_of:
        with torch.inference_mode(), use_threads(args.threads):
            forward_of(args.memory_of)(noise(args.batch, SECONDS))
        common.print_peak()
        return
    names = [common.ANCHOR, *args.models]
    forwards = {name: forward_of(name) for name in names}
    rows = []
    for batch, case in zip((1, 4), GOALS, strict=True):
        x_BS = noise(batch, SECONDS)
        works = {name: lambda run=run, x_BS=x_BS: run(x_BS) for name, run in forwards.items()}
        with torch.inference_mode():
            timings = measure(works, runs=args.runs, threads=args.threads)
        for name in names:
            peak = common.memory_in_fresh_process(name, __file__, "--batch", str(batch))
            rows.append(common.row(case, name, timings[name], timings[common.ANCHOR], peak))
    common.show(rows, GOALS, args.json)


if __name__ == "__main__":
    main()
