"""The package as a whole: a light import, its metadata, its wheel and its floors."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import espnet_kd
from espnet_kd.errors import KDError
from espnet_kd.utils import paths

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("espnet_kd", "s3prl_upstreams")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

HEAVY = [
    "espnet",
    "espnet2",
    "s3prl",
    "transformers",
    "fairseq",
    "k2",
    "wandb",
    "onnx",
    "onnxruntime",
    "torchaudio",
]

# The floors of the house, lowest first: a module imports from its own floor's rooms named
# beside it and from lower floors, never from a higher one.
FLOORS = (
    ("espnet_kd.errors",),
    ("espnet_kd.utils",),
    ("espnet_kd.encoder", "espnet_kd.losses", "espnet_kd.pruning", "espnet_kd.quantizer",
     "espnet_kd.optim", "espnet_kd.whisper"),
    ("espnet_kd.checkpoints",),
    ("espnet_kd.data", "espnet_kd.evaluation", "espnet_kd.filtering"),
    ("espnet_kd.registry", "espnet_kd.tasks"),
    ("espnet_kd.bin", "s3prl_upstreams"),
)  # fmt: skip
GROUND = ("encoder", "losses", "optim", "pruning", "quantizer", "whisper")
GROUND_MAY_IMPORT = {"torch", "numpy"}
# Whisper's models, tokenizers and files are transformers', imported where they are used.
# The quantiser's search is compiled where numba is there, and works without it.
ROOM_MAY_IMPORT = {
    "quantizer": {"numba"},
    "whisper": {
        "ctranslate2", "huggingface_hub", "jiwer", "safetensors", "tokenizers", "transformers",
    },
}  # fmt: skip
# Pruning is about our encoder; losses stay strangers to it.
NEIGHBOURS = {"pruning": ("espnet_kd.encoder.", "espnet_kd.losses.")}


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd="/"
    )


def module_name(path: Path) -> str:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


def imports_of(path: Path) -> list[tuple[str, int]]:
    """Every imported module of a file with its line, also inside functions.

    What stands under ``if TYPE_CHECKING`` is for the type checker only and does not count.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for child in ast.walk(node)
    }
    found: list[tuple[str, int]] = []
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [(f"{node.module}.{alias.name}", node.lineno) for alias in node.names]
    return found


def floor(module: str) -> int | None:
    for level, rooms in enumerate(FLOORS):
        if any(module == room or module.startswith(f"{room}.") for room in rooms):
            return level
    return None


def test_bare_import_is_light():
    code = "import sys, espnet_kd; print(*sys.modules)"
    result = run_python(code)
    assert result.returncode == 0, result.stderr
    loaded = {name.partition(".")[0] for name in result.stdout.split()}
    assert "espnet_kd" in loaded
    assert not loaded & {*HEAVY, "torch", "numpy"}


@pytest.mark.parametrize("room", GROUND)
def test_ground_floor_imports_without_toolkits(room):
    if not (ROOT / "espnet_kd" / room).is_dir():
        pytest.skip(f"no room espnet_kd/{room}")
    code = f"""
import pkgutil, importlib, sys, espnet_kd.{room} as room
for module in pkgutil.walk_packages(room.__path__, room.__name__ + "."):
    importlib.import_module(module.name)
print(*sys.modules)
"""
    result = run_python(code)
    assert result.returncode == 0, result.stderr
    loaded = {name.partition(".")[0] for name in result.stdout.split()}
    assert not loaded & set(HEAVY)


def test_version_is_the_one_in_the_metadata_and_the_changelog():
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    assert "version=version()" in setup
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+)?", espnet_kd.__version__)
    assert f"## [{espnet_kd.__version__}]" in changelog


def test_requirements_are_all_locked():
    """Each requirement and each development tool of setup.py has its pin in the lock file."""
    names = re.findall(r'^ {4,8}"([A-Za-z][\w-]*)[<>=]', setup_text(), flags=re.MULTILINE)
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pinned = {canonical(name) for name in re.findall(r"^([\w.-]+)==", lock, flags=re.MULTILINE)}
    assert len(names) > 20
    assert [name for name in names if canonical(name) not in pinned] == []
    assert re.findall(r"https?://|file:|--index|--find-links|@ ", lock) == []


def setup_text() -> str:
    return (ROOT / "setup.py").read_text(encoding="utf-8")


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel built without a network from a copy of the sources."""
    source = tmp_path_factory.mktemp("source")
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc")
    for name in (*PACKAGES, "conf"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=ignore)
    command = [sys.executable, "setup.py", "-q", "bdist_wheel"]
    result = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    (built,) = (source / "dist").glob("espnet_kd-*.whl")
    return built


def test_wheel_holds_every_module_and_experiment_file(wheel):
    expected = {str(path.relative_to(ROOT)) for path in SOURCES}
    conf = [path for path in (ROOT / "conf").rglob("*") if path.is_file()]
    expected |= {f"espnet_kd/{path.relative_to(ROOT)}" for path in conf}
    data = [
        path
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.suffix in {".yaml", ".txt", ".json", ".html", ".css", ".typed", ".pth"}
    ]
    expected |= {str(path.relative_to(ROOT)) for path in data}
    names = set(zipfile.ZipFile(wheel).namelist())
    assert sorted(expected - names) == []
    assert not [name for name in names if name.startswith(("tests/", "egs/", "benchmarks/"))]


def test_wheel_metadata_names_the_extras(wheel):
    archive = zipfile.ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = archive.read(name).decode()
    extras = set(re.findall(r"^Provides-Extra: (\S+)$", metadata, flags=re.MULTILINE))
    assert {"k2", "fairseq", "onnx", "wandb", "dev"} <= extras
    assert f"\nVersion: {espnet_kd.__version__}\n" in metadata


def test_experiment_files_are_found_from_an_unpacked_wheel(wheel, tmp_path):
    if not (ROOT / "conf").is_dir():
        pytest.skip("no conf/ yet")
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = "from espnet_kd.utils.paths import conf_dir; print(conf_dir())"
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": "."},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert Path(result.stdout.strip()) == tmp_path / "espnet_kd" / "conf"


def test_experiment_files_are_found_in_the_checkout():
    if not (ROOT / "conf").is_dir():
        pytest.skip("no conf/ yet")
    assert paths.conf_dir() == ROOT / "conf"


def test_missing_experiment_files_are_reported(monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "_PACKAGE", tmp_path / "espnet_kd")
    with pytest.raises(KDError, match="complete checkout"):
        paths.conf_dir()


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_no_import_points_up(path):
    level = floor(module_name(path))
    if level is None:
        pytest.skip("stands on no floor: the package's own entry module")
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for name, line in imports_of(path)
        if (target := floor(name)) is not None and target > level
    ]
    assert wrong == []


def test_every_room_has_a_floor():
    modules = [module_name(path) for path in SOURCES]
    assert [name for name in modules if floor(name) is None] == ["espnet_kd"]


@pytest.mark.parametrize(
    "path", [p for p in SOURCES if p.relative_to(ROOT).parts[1] in GROUND], ids=module_name
)
def test_ground_floor_knows_only_torch(path):
    """Tensors in, tensors out: no toolkit, no other room but those named."""
    room = path.relative_to(ROOT).parts[1]
    own = (f"espnet_kd.{room}.", "espnet_kd.errors.", "espnet_kd.utils.", *NEIGHBOURS.get(room, ()))
    may_import = GROUND_MAY_IMPORT | ROOM_MAY_IMPORT.get(room, set())
    wrong = []
    for name, line in imports_of(path):
        top = name.partition(".")[0]
        allowed = (
            f"{name}.".startswith(own) if top == "espnet_kd"
            else top in may_import or top in sys.stdlib_module_names
        )  # fmt: skip
        if not allowed:
            wrong.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    assert wrong == []
