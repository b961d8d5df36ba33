"""Write a model of another one's configuration with random weights.

``random_student.py --like DIR --seed 0 --out DIR``: the untrained baseline of a student, or what
training without any inherited weight starts from.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from espnet_kd import load_model
from espnet_kd.encoder import SpeechEncoder
from espnet_kd.errors import KDError


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--like", required=True, help="folder of the model to imitate")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    try:
        torch.manual_seed(args.seed)
        SpeechEncoder.from_config(load_model(args.like).config).save_pretrained(args.out)
    except KDError as error:
        sys.exit(f"random_student.py: {error}")
    print(f"{args.out}: random weights in the shape of {args.like}")


if __name__ == "__main__":
    main()
