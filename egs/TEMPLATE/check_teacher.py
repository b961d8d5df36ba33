"""Stage 2: prove the teacher. It must tell masked sounds apart far better than chance."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from espnet_kd import load_model
from espnet_kd.errors import KDError
from espnet_kd.evaluation.curves import load_curves

AT_LEAST = 10.0


def best_accuracy(curves_of: Path) -> float:
    """Highest masked accuracy on the validation set that a training run has logged."""
    curves = load_curves(curves_of)
    found = [key for key in curves if key.startswith("valid/") and key.endswith("accuracy")]
    if not found:
        sys.exit(f"{curves_of}: no accuracy was logged; known: {sorted(curves)}")
    return max(value for _, value in curves[found[0]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("teacher", help="its folder")
    parser.add_argument("--curves", type=Path, help="TensorBoard folder of its training")
    parser.add_argument("--num_classes", type=int, required=True)
    parser.add_argument("--smoke", choices=("true", "false"), default="false")
    args = parser.parse_args()
    try:
        model = load_model(args.teacher)
        accuracy = None if args.curves is None else best_accuracy(args.curves)
    except KDError as error:
        sys.exit(f"check_teacher.py: {error}")
    size = sum(parameter.numel() for parameter in model.parameters())
    said = f"teacher: {size / 1e6:.2f} M parameters"
    if accuracy is None:
        print(f"{said}, how it was trained is not known")
        return
    ratio = accuracy * args.num_classes
    print(f"{said}, masked accuracy {accuracy:.3f} ({ratio:.0f} x chance)")
    if ratio < AT_LEAST and args.smoke == "false":
        sys.exit(
            f"the teacher is only {ratio:.1f} times better than chance ({AT_LEAST:g} is wanted): "
            "train it longer (--teacher_args '--max_epoch 20') or on more speech"
        )


if __name__ == "__main__":
    main()
