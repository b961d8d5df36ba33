"""All benchmarks, one after the other: ``make benchmark`` or ``python -m benchmarks --runs 5``.

Options go to each of them; see ``python benchmarks/inference.py --help``.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SCRIPTS = ("inference.py", "training_step.py", "pruning_step.py", "pruned_inference.py")


def main() -> int:
    """Run every script in a process of its own; the first failure's exit code, else 0."""
    codes = []
    for script in SCRIPTS:
        print(f"== {script}", flush=True)
        command = [sys.executable, str(HERE / script), *sys.argv[1:]]
        codes.append(subprocess.run(command, check=False).returncode)
    return next((code for code in codes if code), 0)


if __name__ == "__main__":
    sys.exit(main())
