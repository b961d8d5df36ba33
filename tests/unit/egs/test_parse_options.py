"""Options are what the script sets above the line that sources parse_options.sh."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.unit.egs.conftest import TEMPLATE

SCRIPT = f"""#!/usr/bin/env bash
# Head.
set -euo pipefail
cd "$(dirname "$0")"
name=first         # an option with a hard name
value="a b"        # another one
kd_hidden=1
. {TEMPLATE}/parse_options.sh
later=1
echo "$name|$value|$later"
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "recipe" / "run.sh"
    path.parent.mkdir()
    path.write_text(SCRIPT)
    path.chmod(0o755)
    return path


def start(path: Path | str, *words: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run([path, *words], capture_output=True, text=True, check=False, **options)


def test_values(script):
    assert start(script).stdout == "first|a b|1\n"
    said = start(script, "--name", "x", "--value=--y z=1").stdout
    assert said == "x|--y z=1|1\n"


@pytest.mark.parametrize("words", [["./recipe/run.sh"], ["recipe/run.sh"]])
def test_help_works_from_another_folder(script, tmp_path, words):
    said = start(*words, "--help", cwd=tmp_path).stdout
    assert said.startswith("Head.\n")
    assert "--name               an option with a hard name (first)" in said
    assert "--value              another one (a b)" in said


@pytest.mark.parametrize("option", ["--later", "--kd_hidden", "--kd_name", "--", "--na.e"])
def test_only_its_own_options(script, option):
    result = start(script, option, "1")
    assert result.returncode == 2
    assert f"unknown option {option}; known are: --name --value" in result.stderr


def test_variables_of_the_environment_are_no_options(script):
    result = start(script, "--other", "1", env={"other": "0", "PATH": "/usr/bin:/bin"})
    assert result.returncode == 2
    assert "unknown option --other" in result.stderr
