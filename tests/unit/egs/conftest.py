"""Run small recipes that use the shared stage scripts."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

TEMPLATE = Path(__file__).resolve().parents[3] / "egs" / "TEMPLATE"

RECIPE = """#!/usr/bin/env bash
# A recipe of three stages.
# Its second line of help.
set -euo pipefail
stage=0
stop_stage=2
skip_stages=""
lucky=true
some_name="a b"
. {template}/parse_options.sh
expdir=exp
. {template}/stages.sh
stages_check 0 3
if stage 0 "First" "1 s"; then echo made zero; touch zero; fi
if stage 1 "Second" "1 s"; then
    need zero 0 "what stage 0 leaves"
    echo "made one $lucky [$some_name]"
fi
if stage 2 "Third" "1 s"; then
    need one 1
fi
if stage 3 "Upload" "network"; then echo uploaded; fi
stages_done
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def recipe(tmp_path: Path) -> Run:
    """Return ``run(*options)`` of a recipe in an empty folder."""
    script = tmp_path / "run.sh"
    script.write_text(RECIPE.format(template=TEMPLATE))
    script.chmod(0o755)

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(script), *options], cwd=tmp_path, capture_output=True, text=True, check=False
        )

    return run
