"""What the recipes under test share."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WARM = ROOT / "tests" / "integration" / "warm_python.py"


@pytest.fixture(scope="session")
def warm_python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An interpreter for ``--python`` that starts with the toolkits loaded."""
    folder = tmp_path_factory.mktemp("warm")
    script = folder / "python"
    words = f"{sys.executable} -S -E {WARM} run {folder}/socket"
    script.write_text(f'#!/bin/sh\nWARM_PYTHON="$0" exec {words} "$@"\n')
    script.chmod(0o755)
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    server = subprocess.Popen([sys.executable, WARM, "serve", f"{folder}/socket"], env=environ)
    while not (folder / "socket").exists():
        assert server.poll() is None
        time.sleep(0.01)
    yield script
    server.terminate()
    server.wait()
