"""House rules that no linter knows: length, safe loading, docstrings, a clean tree."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(
    path for package in ("espnet_kd", "s3prl_upstreams") for path in (ROOT / package).rglob("*.py")
)

MAX_LINES = 500
MAX_MEDIAN_LINES = 130
MAX_FILE_BYTES = 1_000_000

# Calls that can run code hidden in data. torch.load is allowed where published files are
# opened, and only with weights_only=True.
FORBIDDEN_CALLS = {
    "eval", "exec", "pickle.load", "pickle.loads", "cPickle.load", "dill.load", "joblib.load",
    "marshal.loads", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "os.system",
    "numpy.load", "np.load", "shelve.open", "pandas.read_pickle", "torch.load",
}  # fmt: skip
SAFE_KEYWORDS = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
}
TORCH_LOAD_ROOM = "espnet_kd/checkpoints/"

MACHINE_PATHS = re.compile(
    r"(?<![\w.{}$/-])/(?:tmp/|root/|home/\w|work/|opt/\w|mnt/|media/|Users/|data/\w|scratch)"
)


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tracked_files() -> list[Path]:
    """Files that git knows or would add; without git, all but what builds leave behind."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        skip = {".git", ".venv", ".uv", "build", "dist", "__pycache__"}
        found = ROOT.rglob("*")
        return [path for path in found if path.is_file() and not skip & set(path.parts)]
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def dotted(node: ast.expr) -> str:
    return ast.unparse(node) if isinstance(node, ast.Name | ast.Attribute) else ""


def is_safe(call: ast.Call, name: str, file: str) -> bool:
    if name not in FORBIDDEN_CALLS:
        return True
    if name not in SAFE_KEYWORDS:
        return False
    keyword, value = SAFE_KEYWORDS[name]
    stated = {k.arg: k.value.value for k in call.keywords if isinstance(k.value, ast.Constant)}
    in_its_room = name != "torch.load" or file.startswith(TORCH_LOAD_ROOM)
    return in_its_room and stated.get(keyword) is value


def unsafe_calls(source: str, file: str) -> list[str]:
    return [
        f"{file}:{node.lineno} calls {dotted(node.func)}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and not is_safe(node, dotted(node.func), file)
    ]


def undocumented(source: str) -> list[str]:
    """Public classes and functions, also methods of public classes, without a docstring."""
    found: list[str] = []

    def visit(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
            if node.name.startswith("_") or is_override(node):
                continue
            if ast.get_docstring(node) is None:
                found.append(f"{prefix}{node.name} (line {node.lineno})")
            if isinstance(node, ast.ClassDef):
                visit(node.body, f"{prefix}{node.name}.")

    tree = ast.parse(source)
    if ast.get_docstring(tree) is None and tree.body:
        found.append("the module itself")
    visit(tree.body, "")
    return found


def is_override(node: ast.stmt) -> bool:
    """Overloads and accessors are documented where their name is first defined."""
    decorators = [ast.unparse(item) for item in getattr(node, "decorator_list", [])]
    return any(item.endswith((".setter", "overload", "override")) for item in decorators)


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_file_is_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


def test_files_are_short_on_the_whole():
    lengths = [len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES]
    assert statistics.median(length for length in lengths if length) <= MAX_MEDIAN_LINES


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_no_call_can_run_code_hidden_in_data(path):
    assert unsafe_calls(path.read_text(encoding="utf-8"), relative(path)) == []


@pytest.mark.parametrize(
    "source",
    [
        "eval('1')",
        "import pickle\npickle.load(open('x', 'rb'))",
        "yaml.load(text)",
        "torch.load(path, weights_only=False)",
        "torch.load(path)",
        "np.load(path)",
    ],
)
def test_unsafe_calls_are_noticed(source):
    assert len(unsafe_calls(source, TORCH_LOAD_ROOM + "x.py")) == 1


def test_torch_load_belongs_to_the_checkpoints():
    source = "torch.load(path, weights_only=True)"
    assert unsafe_calls(source, TORCH_LOAD_ROOM + "x.py") == []
    assert len(unsafe_calls(source, "espnet_kd/data/x.py")) == 1


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_every_public_name_is_documented(path):
    assert undocumented(path.read_text(encoding="utf-8")) == []


def test_missing_docstrings_are_noticed():
    source = '"""Module."""\nclass A:\n    """A."""\n    def f(self): ...\n    def _g(self): ...\n'
    assert undocumented(source) == ["A.f (line 4)"]


def test_no_machine_paths():
    own = Path(__file__).resolve()
    wrong = []
    for path in tracked_files():
        if path == own or b"\0" in (content := path.read_bytes()):
            continue
        for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
            if MACHINE_PATHS.search(line):
                wrong.append(f"{relative(path)}:{number}: {line.strip()[:80]}")
    assert wrong == []


@pytest.mark.parametrize("line", ["out = '/tmp/x'", "DATA=/home/me/data", "cd /root/x"])
def test_machine_paths_are_noticed(line):
    assert MACHINE_PATHS.search(line)


def test_no_big_files_and_no_audio_or_weights():
    files = tracked_files()
    big = [relative(path) for path in files if path.stat().st_size > MAX_FILE_BYTES]
    assert big == []
    kinds = {".wav", ".flac", ".sph", ".ckpt", ".pt", ".pth", ".safetensors", ".npz", ".ark"}
    assert [relative(p) for p in files if p.suffix in kinds and p.stat().st_size > 100_000] == []
