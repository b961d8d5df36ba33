"""The Whisper commands that documents show are understood by the commands themselves."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from espnet_kd.tasks.whisper_distill import WhisperDistillTask
from espnet_kd.tasks.yaml_check import parse
from tests.unit.test_readme import SHELL, blocks_of, commands_of

ROOT = Path(__file__).resolve().parents[3]
DOCUMENTS = (ROOT / "README.md", ROOT / "egs" / "TEMPLATE" / "README.md")
BIN = "espnet_kd.bin."
COMMANDS = [
    words[2:]
    for document in DOCUMENTS
    for block in blocks_of(document)
    if block.language in SHELL
    for words in commands_of(block.text)
    if words[1:2] == ["-m"] and words[2].startswith((f"{BIN}whisper", f"{BIN}prepare_speech"))
]


def test_every_step_is_shown() -> None:
    assert {words[0].removeprefix(BIN) for words in COMMANDS} == {
        "prepare_speech", "whisper_pseudo_label", "whisper_filter", "whisper_shrink",
        "whisper_distill_train", "whisper_evaluate", "whisper_token_list",
    }  # fmt: skip


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0].removeprefix(BIN))
def test_command_is_understood(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    module, *options = words
    if module.endswith("whisper_distill_train"):
        monkeypatch.chdir(ROOT)  # --config is a path of this repository
        args, problems = parse(WhisperDistillTask.get_parser(), options)
        assert problems + WhisperDistillTask.problems(args) == []
        return
    importlib.import_module(module).get_parser().parse_args(options)
