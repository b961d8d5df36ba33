"""Scoring works on a machine without torch and S3PRL."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import s3prl_upstreams.scoring as room

SOURCES = sorted(Path(room.__file__).parent.glob("*.py"))
ALLOWED = {"numpy", "scipy", "h5py"}
OURS = ("s3prl_upstreams.scoring.", "espnet_kd.errors", "espnet_kd.utils.")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_imports_are_few(path):
    modules = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules.append(node.module)
    other = [name for name in modules if not name.startswith(OURS)]
    assert {name.partition(".")[0] for name in other} <= ALLOWED | sys.stdlib_module_names
