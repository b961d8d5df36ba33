"""Stage 4: bring the models of a run into one folder, and measure what they cost.

``gather_models.py --out DIR --models teacher=exp/teacher/student student=exp/student/student``
writes ``DIR/NAME``, which ``load_model`` reads, and ``DIR/NAME.profile.json``. Models of one
configuration cost the same: it is measured once.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from espnet_kd.errors import KDError
from espnet_kd.evaluation.profile import profile, profile_table
from espnet_kd.utils.files import write_json


def replace_folder(source: Path, target: Path) -> None:
    """Copy a folder over another one."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)


def is_gathered(source: Path, target: Path, seconds: float) -> bool:
    """Whether the model is there with these weights, and was measured at this length."""
    files = [folder / "config.json" for folder in (source, target)]  # with the weights' checksum
    if not files[1].exists() or files[0].read_bytes() != files[1].read_bytes():
        return False
    measured = profile_file(target)
    return measured.exists() and read_json(measured)["macs"]["seconds"] == seconds


def profile_file(model: Path) -> Path:
    return model.with_name(f"{model.name}.profile.json")


def read_json(path: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return values


def profile_all(models: list[Path], seconds: float) -> None:
    """Write the profile of each model beside its folder, and say those that were measured."""
    measured: dict[str, dict[str, Any]] = {}
    for model in models:
        shape = json.dumps(read_json(model / "config.json")["encoder"], sort_keys=True)
        if shape not in measured:
            measured[shape] = profile(str(model), seconds=seconds, runs=5)
            print(f"{model.name}\n{profile_table(measured[shape])}")
        write_json(profile_file(model), measured[shape])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="+", required=True, metavar="NAME=DIR")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=4.0)
    args = parser.parse_args()
    sources = {name: Path(folder) for name, _, folder in (m.partition("=") for m in args.models)}
    targets = {args.out / name: source for name, source in sources.items()}
    if all(is_gathered(source, target, args.seconds) for target, source in targets.items()):
        print(f"{args.out}: {', '.join(sources)} kept")
        return
    for target, source in targets.items():
        replace_folder(source, target)
    try:
        profile_all(list(targets), args.seconds)
    except KDError as error:
        sys.exit(f"gather_models.py: {error}")


if __name__ == "__main__":
    main()
