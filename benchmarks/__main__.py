"""All benchmarks, one after the other: ``make benchmark`` or ``python -m benchmarks --runs 5``.

Options go to each of them; see ``python benchmarks/inference.py --help``. ``--json`` names a folder
here, where each script leaves a file.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SCRIPTS = (
    "inference.py",
    "training_step.py",
    "pruning_step.py",
    "pruned_inference.py",
    "whisper_training_step.py",
    "pseudo_labelling.py",
    "speculative_decoding.py",
    "transducer.py",
    "quantizer_encoding.py",
    "quantizer_training.py",
    "codebook_loss.py",
    "superb_cache.py",
    "asr_head.py",
)


def main() -> int:
    """Run every script in a process of its own; the first failure's exit code, else 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="folder for the figures")
    args, others = parser.parse_known_args()
    codes = []
    for script in SCRIPTS:
        print(f"== {script}", flush=True)
        command = [sys.executable, str(HERE / script), *others]
        if args.json is not None:
            args.json.mkdir(parents=True, exist_ok=True)
            command += ["--json", str(args.json / f"{Path(script).stem}.json")]
        codes.append(subprocess.run(command, check=False).returncode)
    return next((code for code in codes if code), 0)


if __name__ == "__main__":
    sys.exit(main())
