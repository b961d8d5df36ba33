"""Stage 2: prove the teacher. It must tell masked sounds apart far better than chance."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from espnet_kd import load_model
from espnet_kd.evaluation.curves import load_curves

AT_LEAST = 10.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("exp", type=Path)
    parser.add_argument("--num_classes", type=int, required=True)
    parser.add_argument("--smoke", choices=("true", "false"), default="false")
    args = parser.parse_args()
    model = load_model(str(args.exp / "student"))
    size = sum(parameter.numel() for parameter in model.parameters())
    curves = load_curves(args.exp / "tensorboard")
    found = [key for key in curves if key.startswith("valid/") and key.endswith("accuracy")]
    if not found:
        sys.exit(f"{args.exp}/tensorboard: no accuracy was logged; known: {sorted(curves)}")
    best = max(value for _, value in curves[found[0]])
    ratio = best * args.num_classes
    print(
        f"teacher: {size / 1e6:.2f} M parameters, masked accuracy {best:.3f} ({ratio:.0f} x chance)"
    )
    if ratio < AT_LEAST and args.smoke == "false":
        sys.exit(
            f"the teacher is only {ratio:.1f} times better than chance ({AT_LEAST:g} is wanted): "
            "train it longer (--teacher_args '--max_epoch 20') or on more speech"
        )


if __name__ == "__main__":
    main()
