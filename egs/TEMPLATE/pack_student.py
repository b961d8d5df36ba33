"""Pack a student into one zip file: weights, configuration, how it was trained, what it scores.

``pack_student.py --model DIR --config exp/student/config.yaml --results RESULTS.md --out FILE``.
A ``README.md`` in DIR (model_card.py) comes along.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import zipfile
from pathlib import Path

import espnet_kd
from espnet_kd.utils.files import atomic_path
from espnet_kd.whisper.load import FILES as WHISPER_FILES

MODEL_FILES = ("config.json", "model.safetensors")
EPOCH = (1980, 1, 1, 0, 0, 0)
"""Time stamp of every member: the same student gives the same file."""
CHUNK = 1 << 20


def members(model: Path, config: Path | None, results: Path | None) -> dict[str, Path]:
    """Name in the archive -> file."""
    files = {name: model / name for name in MODEL_FILES}
    if (model / "generation_config.json").is_file():  # a Whisper
        found = {path.name: path for pattern in WHISPER_FILES for path in model.glob(pattern)}
        files = {**files, **dict(sorted(found.items()))}
    if (model / "README.md").is_file():
        files["README.md"] = model / "README.md"
    if config is not None:
        files["train_config.yaml"] = config
    if results is not None:
        files["RESULTS.md"] = results
    return files


def sha256_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def pack(files: dict[str, Path], out: Path) -> None:
    """Write the archive atomically, with a manifest of sha256 sums."""
    manifest = {
        "espnet_kd": espnet_kd.__version__,
        "sha256": {name: sha256_of(path) for name, path in files.items()},
    }
    with atomic_path(out) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, path in files.items():
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.file_size = path.stat().st_size  # tells zipfile how large it may become
            with path.open("rb") as source, archive.open(entry, "w") as target:
                shutil.copyfileobj(source, target, CHUNK)
        text = json.dumps(manifest, indent=2) + "\n"
        archive.writestr(zipfile.ZipInfo("meta.json", EPOCH), text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--results", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    files = members(args.model, args.config, args.results)
    missing = [str(path) for path in files.values() if not path.is_file()]
    if missing:
        sys.exit("cannot pack, missing: " + ", ".join(missing))
    pack(files, args.out)
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
