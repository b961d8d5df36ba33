"""The documents tell the truth: what their code blocks name exists."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
OWN_PACKAGES = ("espnet_kd", "s3prl_upstreams", "benchmarks")
REPOSITORY_FOLDERS = (*OWN_PACKAGES, "egs", "conf", "tests", "docs", ".ci")
SHELL = {"bash", "sh", "shell", "console"}
# Options that come from these toolkits are theirs to check.
FOREIGN_OPTIONS = ("ssl_distill_train", "mvq_transducer_train", "bin.espnet", "run_downstream")


@dataclass
class Block:
    """One fenced code block of a document."""

    document: Path
    language: str
    text: str
    line: int

    def __str__(self) -> str:
        return f"{self.document.name}:{self.line}"


@dataclass
class Problems:
    """What a command names but the repository does not have."""

    folder: Path = ROOT
    found: list[str] = field(default_factory=list)


def blocks_of(document: Path) -> list[Block]:
    text = document.read_text(encoding="utf-8")
    fences = re.finditer(r"^```(\w*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    return [
        Block(document, m.group(1), m.group(2), text[: m.start()].count("\n") + 1) for m in fences
    ]


BLOCKS = [block for document in DOCUMENTS for block in blocks_of(document)]


def commands_of(script: str) -> list[list[str]]:
    """Words of each simple command; continuation lines, comments and ``&&`` are resolved."""
    commands: list[list[str]] = []
    for line in script.replace("\\\n", " ").splitlines():
        words = shlex.split(line.removeprefix("$ "), comments=True)
        current: list[str] = []
        for word in [*words, ";"]:
            if word in {"&&", ";", "|", "||"}:
                commands += [current] if current else []
                current = []
            else:
                current.append(word)
    return commands


def make_targets() -> set[str]:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z]+):", text, flags=re.MULTILINE))


def module_file(name: str) -> Path | None:
    base = ROOT / Path(*name.split("."))
    candidates = (base.with_suffix(".py"), base / "__main__.py")
    return next((path for path in candidates if path.is_file()), None)


def has_option(file: Path, option: str) -> bool:
    """Whether a script states the option (``parse_options.sh`` turns variables into options)."""
    text = file.read_text(encoding="utf-8")
    name = option.lstrip("-")
    if file.suffix == ".py":
        return f'"{option}"' in text
    return re.search(rf"^{name}=|--{name}\b", text, flags=re.MULTILINE) is not None


def check_make(words: list[str], problems: Problems) -> None:
    known = make_targets()
    for word in words[1:]:
        if "=" not in word and not word.startswith("-") and word not in known:
            problems.found.append(f"no make target {word}")


def check_python(words: list[str], problems: Problems) -> None:
    if len(words) < 3 or words[1] != "-m":
        problems.found.append(f"cannot check {shlex.join(words)}")
        return
    module, arguments = words[2], words[3:]
    if module.partition(".")[0] not in OWN_PACKAGES:
        if importlib.util.find_spec(module.partition(".")[0]) is None:
            problems.found.append(f"no module {module}")
        return
    file = module_file(module)
    if file is None:
        problems.found.append(f"no module {module}")
    elif not module.endswith((*FOREIGN_OPTIONS, "distill_train")):  # see test_whisper_commands.py
        check_options(file, arguments, problems)


def check_options(file: Path, arguments: list[str], problems: Problems) -> None:
    for word in arguments:
        option = word.partition("=")[0]
        if option.startswith("--") and not has_option(file, option):
            problems.found.append(f"{file.relative_to(ROOT)} has no option {option}")


def check_command(words: list[str], problems: Problems) -> None:
    while words and re.fullmatch(r"[A-Z_][A-Z0-9_]*=.*", words[0]):
        words = words[1:]
    if not words:
        return
    program = words[0].removeprefix(".venv/bin/")
    if program == "cd":
        check_change_of_folder(words[1], problems)
    elif program == "make":
        check_make(words, problems)
    elif program in {"python", "python3", "python3.11"}:
        check_python([program, *words[1:]], problems)
    elif program.endswith(".sh") or program.startswith((".ci/", "egs/")):
        script = problems.folder / program
        if script.is_file():
            check_options(script, words[1:], problems)
        else:
            problems.found.append(f"no script {program} in {problems.folder.name}")
    elif program not in {"git", "uv", "pip", "pre-commit", "tensorboard"}:
        problems.found.append(f"unknown program {program}")
    check_paths(words[1:], problems)


def check_change_of_folder(target: str, problems: Problems) -> None:
    folder = problems.folder / target
    if folder.is_dir():
        problems.folder = folder
    elif "/" in target:
        problems.found.append(f"no folder {target}")


def check_paths(words: list[str], problems: Problems) -> None:
    for word in (part for whole in words for part in whole.split("=", 1)[-1].split()):
        known = word.split("/")[0] in REPOSITORY_FOLDERS and "/" in word
        made_by_runs = re.search(r"/(exp|data|dump|downloads)(/|$)|[<>$*]|\.\.\.", word)
        if known and not made_by_runs and not (ROOT / word.partition("::")[0]).exists():
            problems.found.append(f"no file {word}")


def problems_of(script: str) -> list[str]:
    problems = Problems()
    for words in commands_of(script):
        check_command(words, problems)
    return problems.found


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language in SHELL], ids=str)
def test_commands_exist(block):
    assert problems_of(block.text) == []


@pytest.mark.parametrize(
    "script",
    [
        "make nonsense",
        "python -m espnet_kd.bin.nonsense",
        "cd egs/nonsense/armhubert1",
        "./nonsense.sh --stage 1",
        "make test PYTEST_ARGS=tests/nonsense",
        "nonsense --option",
    ],
)
def test_wrong_commands_are_noticed(script):
    assert problems_of(script)


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "python"], ids=str)
def test_python_blocks_import_what_exists(block):
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.ImportFrom) and node.module:
            module = importlib.import_module(node.module)
            assert [a.name for a in node.names if not hasattr(module, a.name)] == []


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language in {"yaml", "yml"}], ids=str)
def test_yaml_blocks_parse(block):
    assert yaml.safe_load(block.text)


def test_every_block_says_its_language():
    known = {*SHELL, "python", "yaml", "yml", "text", "json"}
    assert [str(block) for block in BLOCKS if block.language not in known] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    text = document.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text)
    local = [target for target in targets if not re.match(r"https?://|mailto:", target)]
    assert [target for target in local if not (document.parent / target).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_inline_commands_exist(document):
    """``make target`` and ``python -m module`` in running text and tables."""
    text = re.sub(r"^```.*?^```$", "", document.read_text(encoding="utf-8"), flags=re.M | re.S)
    inline = [code for code in re.findall(r"`([^`\n]+)`", text) if "<" not in code]
    commands = [code for code in inline if code.startswith(("make ", "python -m "))]
    assert [found for code in commands for found in problems_of(code)] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_inline_paths_exist(document):
    text = document.read_text(encoding="utf-8")
    inline = re.findall(r"`((?:{})/[\w./-]*)`".format("|".join(REPOSITORY_FOLDERS)), text)
    assert [path for path in inline if not (ROOT / path).exists()] == []


def test_the_documented_test_command_is_what_ci_runs():
    commands = [words for block in BLOCKS for words in commands_of(block.text)
                if block.language in SHELL and block.document.name == "README.md"]  # fmt: skip
    assert ["make", "test"] in commands
    assert re.search(r"^make test\b", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), re.M)
