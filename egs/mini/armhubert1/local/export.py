"""Stage 4: bring the four systems into one folder, and measure what they cost.

``SEED_DIR/models/{teacher,student,no_teacher,untrained}`` are folders that ``load_model`` reads;
``untrained`` has the student's configuration and random weights. ``profile.json`` is beside them.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import torch

from espnet_kd import load_model
from espnet_kd.encoder import SpeechEncoder
from espnet_kd.evaluation.profile import profile, profile_table
from espnet_kd.utils.files import write_json

TRAINED = ("teacher", "student", "no_teacher")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed_dir", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=4.0)
    args = parser.parse_args()
    models = args.seed_dir / "models"
    for name in TRAINED:
        replace_folder(args.seed_dir / name / "student", models / name)
    torch.manual_seed(args.seed)
    student = load_model(str(models / "student"))
    SpeechEncoder.from_config(student.config).save_pretrained(models / "untrained")
    for name in ("teacher", "student"):
        measured = profile(str(models / name), seconds=args.seconds, runs=5)
        write_json(models / f"{name}.profile.json", measured)
        print(f"{name}\n{profile_table(measured)}")
    for name in ("no_teacher", "untrained"):  # the student's architecture: the student's cost
        shutil.copy(models / "student.profile.json", models / f"{name}.profile.json")


def replace_folder(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)


if __name__ == "__main__":
    main()
