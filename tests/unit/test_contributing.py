"""What CONTRIBUTING asks of an addition: these tests fail until the addition is complete."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted((ROOT / "egs").glob("*/*/run.sh"))
ROOMS_WITH_CONTRACT = ("losses", "encoder", "optim", "checkpoints", "whisper", "quantizer")


def text_of(folder: Path) -> str:
    files = sorted(folder.rglob("*.py")) if folder.is_dir() else []
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


def public_names(module: str) -> list[str]:
    return sorted(importlib.import_module(module).__all__)


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))


@pytest.mark.parametrize("room", ROOMS_WITH_CONTRACT)
def test_every_public_name_of_a_room_is_tested(room):
    names = public_names(f"espnet_kd.{room}")
    tested = words(text_of(ROOT / "tests"))
    assert names
    assert [name for name in names if name not in tested] == []


def test_every_loss_has_its_own_test_file():
    losses = ROOT / "espnet_kd" / "losses"
    modules = [
        path.stem
        for path in losses.glob("*.py")
        if re.search(r"^class \w+\(.*\bModule\)", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert len(modules) >= 3
    tests = ROOT / "tests" / "unit" / "losses"
    assert [name for name in modules if not (tests / f"test_{name}.py").is_file()] == []


def test_every_student_is_tested():
    """Each named architecture has its parameter count pinned, by name."""
    from espnet_kd.encoder.architectures import list_architectures

    tested = words(text_of(ROOT / "tests" / "unit" / "encoder"))
    names = list_architectures()
    assert len(names) >= 11
    assert [name for name in names if name not in tested] == []


def test_every_upstream_is_visited_from_s3prl():
    """By name, or by walking the table that has all names."""
    from s3prl_upstreams.hub import UPSTREAMS

    text = text_of(ROOT / "tests" / "integration")
    tested = words(text)
    assert UPSTREAMS
    assert "UPSTREAMS" in tested or [name for name in UPSTREAMS if name not in tested] == []


def test_recipes_are_there():
    assert {str(path.parent.relative_to(ROOT / "egs")) for path in RECIPES} >= {
        "mini/armhubert1",
        "mini/dphubert1",
        "librispeech/armhubert1",
    }


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.parent.relative_to(ROOT))
def test_recipe_keeps_the_conventions(recipe):
    text = recipe.read_text(encoding="utf-8")
    assert os.access(recipe, os.X_OK)
    assert subprocess.run(["bash", "-n", recipe]).returncode == 0
    assert re.search(r"\bset -[a-z]*e", text), "a failing stage must stop the recipe"
    assert re.search(r"\bstop_stage\b", text)
    assert re.search(r"(?i)cost|minutes|hours|GB", text), "each stage says what it costs"


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.parent.relative_to(ROOT))
def test_recipe_is_run_by_a_test(recipe):
    tests = text_of(ROOT / "tests" / "integration")
    name = recipe.parent.relative_to(ROOT)
    parts = r"\W+".join(re.escape(part) for part in name.parts)
    assert re.search(parts, tests), f"no test in tests/integration names {name}"


def test_experiment_files_are_walked_recursively():
    """A test parses every file of conf/ against the real task (not only the top folder)."""
    assert re.search(r"rglob\(|\*\*/", text_of(ROOT / "tests"))
    assert list((ROOT / "conf").rglob("*.yaml"))
