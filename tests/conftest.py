"""Options for all tests: one thread, repeatable examples, and who shares a worker."""

from __future__ import annotations

import functools
import os
import re
import signal
from pathlib import Path

# Before torch is imported: one thread per process keeps sums repeatable and workers apart.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("MPLBACKEND", "Agg")

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parents[1]

hypothesis.settings.register_profile(
    "repeatable", derandomize=True, deadline=None, database=None, print_blob=True
)
hypothesis.settings.load_profile("repeatable")

# ESPnet costs 20 CPU seconds per process and S3PRL's hub about as much: tests that import
# either run in one worker, the light ones in whichever is free.
_HEAVY = re.compile(
    r"^\s*(?:from|import)\s+(?:espnet2|s3prl\w*|espnet_kd\.(?:tasks|registry))\b", re.MULTILINE
)

# Models of transformers cost 15 CPU seconds of import (torch's compiler, sklearn).
_TRANSFORMERS = re.compile(
    r"^\s*(?:from|import)\s+(?:transformers|golden_whisper|espnet_kd\.(?:whisper|filtering)"
    r"|tests\.unit\.(?:whisper|filtering))\b",
    re.MULTILINE,
)


@functools.cache
def _imports(path: Path, what: re.Pattern[str]) -> bool:
    return bool(what.search(path.read_text(encoding="utf-8")))


def pytest_configure() -> None:
    """Undo an ignored Ctrl-C, which a suite started in the background inherits from its shell."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the tests that use a toolkit one group, hence one worker (see --dist loadgroup)."""
    for item in items:
        if item.get_closest_marker("xdist_group") is not None:
            continue
        if item.get_closest_marker("integration") is not None or _imports(item.path, _HEAVY):
            item.add_marker(pytest.mark.xdist_group("toolkits"))
        elif _imports(item.path, _TRANSFORMERS):
            item.add_marker(pytest.mark.xdist_group("transformers"))


def pytest_report_header() -> str:
    """Say where the golden numbers are expected: their tests skip where the folder is absent."""
    folder = Path(os.environ.get("ESPNET_KD_GOLDEN", ROOT.parent / "shared" / "golden"))
    return f"golden numbers: {folder} ({'present' if folder.is_dir() else 'absent, skipped'})"
