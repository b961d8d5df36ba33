"""Stage 2: prove the teacher. Labels of one that cannot recognise speech would teach nothing."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from espnet_kd.errors import KDError
from espnet_kd.evaluation.curves import load_curves

AT_MOST = 50.0
"""Validation WER in percent."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("curves", type=Path, help="TensorBoard folder of its training")
    parser.add_argument("--smoke", choices=("true", "false"), default="false")
    args = parser.parse_args()
    try:
        curves = load_curves(args.curves)
    except KDError as error:
        sys.exit(f"check_teacher.py: {error}")
    if "valid/wer" not in curves:
        sys.exit(f"{args.curves}: no WER was logged; known: {sorted(curves)}")
    wer = min(value for _, value in curves["valid/wer"])
    print(f"teacher: best validation WER {wer:.1f} %")
    if wer > AT_MOST and args.smoke == "false":
        sys.exit(
            f"the teacher's WER is above {AT_MOST:g} %: train it longer (--teacher_args "
            "'--max_epoch 12') or on more speech"
        )


if __name__ == "__main__":
    main()
