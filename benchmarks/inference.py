"""CPU time and memory of a student's forward pass next to HuBERT Base in transformers.

Random weights, white noise, all hidden states returned, no gradients; the models take turns in one
process, memory is taken in a fresh process each. Run: ``python benchmarks/inference.py``, on a card
with ``--device cuda``.
"""

from __future__ import annotations

from collections.abc import Callable

import common
import torch
from place import Place
from torch import Tensor

from espnet_kd.encoder import SpeechEncoder
from espnet_kd.encoder.architectures import architecture

GOALS = {"1 × 10 s": 0.33, "4 × 10 s": 0.42}


def forward_of(name: str, place: Place) -> Callable[[Tensor], object]:
    """A function from samples to all hidden states."""
    if name == common.ANCHOR:
        return common.anchor_forward(place)
    torch.manual_seed(0)
    return place.cast(SpeechEncoder.from_config(architecture(name)).eval())


def main() -> None:
    """Time all models for both batch sizes."""
    parser = common.forward_parser(__doc__)
    parser.add_argument("--models", nargs="+", default=["armhubert"], help="our architectures")
    args = parser.parse_args()
    if args.memory_of:
        common.forward_once(args, forward_of)
    else:
        common.compare_forwards(args, __file__, forward_of, args.models, GOALS)


if __name__ == "__main__":
    main()
