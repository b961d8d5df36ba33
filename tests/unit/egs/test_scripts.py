"""Every shell script of egs/ parses; what is started is executable, what is sourced is not."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

EGS = Path(__file__).resolve().parents[3] / "egs"
SCRIPTS = sorted(
    path for path in EGS.rglob("*.sh") if not {"data", "exp", "downloads"} & set(path.parts)
)
STARTED = ("run.sh", "run_local.sh")


def name(path: Path) -> str:
    return path.relative_to(EGS).as_posix()


def test_there_are_scripts():
    assert {"TEMPLATE/stages.sh", "librispeech/armhubert1/run.sh"} <= set(map(name, SCRIPTS))


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_script_parses(script):
    result = subprocess.run(["bash", "-n", script], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_executable_if_started(script):
    first = script.read_text(encoding="utf-8").splitlines()[0]
    assert os.access(script, os.X_OK) == (script.name in STARTED)
    assert (first == "#!/usr/bin/env bash") == (script.name in STARTED)


@pytest.mark.parametrize("script", [path for path in SCRIPTS if path.name == "run.sh"], ids=name)
def test_help_explains_every_option(script, tmp_path):
    """From any folder, without any package, and quickly: help starts no Python."""
    result = subprocess.run(
        [script, "--help"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    options = [line.split() for line in result.stdout.splitlines() if line.startswith("  --")]
    assert {"--stage", "--stop_stage", "--skip_stages", "--python"} <= {o[0] for o in options}
    assert [words[0] for words in options if len(words) < 3] == []


@pytest.mark.parametrize("script", [path for path in SCRIPTS if path.name == "run.sh"], ids=name)
def test_examples_of_the_help_use_options_that_exist(script):
    text = script.read_text(encoding="utf-8")
    examples = re.findall(r"^#   (\./run\.sh.*)$", text, flags=re.MULTILINE)
    known = set(re.findall(r"^([a-z][a-z0-9_]*)=", text, flags=re.MULTILINE))
    for example in examples:
        words = shlex.split(example, comments=True)
        options = [word.partition("=")[0] for word in words if word.startswith("--")]
        assert [option for option in options if option.lstrip("-") not in known] == [], example
