"""Stage 4: the weights that decoding needs, without the code predictor and other training parts."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import torch

from espnet_kd.checkpoints.unpickle import read_pickle
from espnet_kd.errors import KDError
from espnet_kd.utils.files import write_json

TRAINING_ONLY = ("codebook_loss.", "am_proj.", "lm_proj.", "num_updates")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--json", type=Path, required=True, help="where the sizes go")
    args = parser.parse_args()
    try:
        states = read_pickle(args.weights)
    except KDError as error:
        sys.exit(f"export_model.py: {error}")
    kept = {name: t for name, t in states.items() if not name.startswith(TRAINING_ONLY)}
    bad = [name for name, t in kept.items() if t.is_floating_point() and not t.isfinite().all()]
    if bad:
        sys.exit(f"export_model.py: {args.weights}: NaN or infinity in {', '.join(bad[:3])}")
    partial = args.out.with_name(f".{args.out.name}.partial")
    torch.save(kept, partial)
    os.replace(partial, args.out)
    total, before = (sum(t.numel() for t in part.values()) for part in (kept, states))
    write_json(args.json, {"parameters": {"total": total, "training": before}})
    print(f"{args.out}: {total / 1e6:.2f} M parameters ({(before - total) / 1e6:.2f} M only train)")


if __name__ == "__main__":
    main()
