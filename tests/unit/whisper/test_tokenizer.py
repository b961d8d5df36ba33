"""Tokenizers built offline: sizes, round trips, the same after saving, what is missing."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import WhisperTokenizerFast

from espnet_kd.errors import MissingDependencyError, WhisperError
from espnet_kd.whisper import build_tokenizer
from espnet_kd.whisper.specials import SpecialIds
from espnet_kd.whisper.tokenizer import TIMESTAMPS, last_merge
from tests.unit.whisper import tiny


def test_sizes(tokenizer: Any, english_tokenizer: Any) -> None:
    assert len(tokenizer) == 51865
    assert len(english_tokenizer) == 51864
    large_v3 = build_tokenizer("multilingual-v3")
    assert len(large_v3) == 51866
    assert large_v3.convert_tokens_to_ids("<|yue|>") == 50358


def test_special_tokens_and_timestamps(tokenizer: Any) -> None:
    assert tokenizer.eos_token == tokenizer.pad_token == "<|endoftext|>"
    assert len(TIMESTAMPS) == 1501
    assert TIMESTAMPS[-1] == "<|30.00|>"
    assert tokenizer.convert_tokens_to_ids(TIMESTAMPS) == list(range(50364, 51865))
    assert not {50364, 51864} & set(tokenizer.all_special_ids)
    assert tokenizer.all_special_ids[-1] == 50363
    spelled = "<|startoftranscript|><|hi|><|transcribe|><|0.00|> नमस्ते<|1.50|><|endoftext|>"
    ids = tokenizer(spelled, add_special_tokens=False).input_ids
    assert tokenizer.decode(ids, decode_with_timestamps=True) == spelled


@settings(max_examples=60)
@given(text=st.text(max_size=40))
def test_text_comes_back(text: str) -> None:
    for multilingual in (True, False):
        tokenizer = tiny.tokenizer(multilingual)
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text


def test_the_saved_one_is_the_same(tokenizer: Any, teacher_folder: Path) -> None:
    again = WhisperTokenizerFast.from_pretrained(teacher_folder, local_files_only=True)
    text = " It's 1,234.50 at 你好 مرحبا"
    assert again(text).input_ids == tokenizer(text).input_ids
    assert again.get_vocab() == tokenizer.get_vocab()
    assert again.normalize("colour Mr. X") == "color mister x"


def test_as_the_original_encodes(tokenizer: Any, english_tokenizer: Any) -> None:
    whisper = pytest.importorskip("whisper.tokenizer", reason="openai-whisper is not installed")
    texts = [
        "Hello, world!",
        "  two   spaces\n\ttab ",
        "ﬁ ½ ⅓ 🏳️‍🌈",
        "नमस्ते दुनिया",
        "日本語です。",
        "a" * 99,
    ]
    for ours, multilingual in ((tokenizer, True), (english_tokenizer, False)):
        theirs = whisper.get_tokenizer(multilingual)
        for text in texts:
            assert ours(text, add_special_tokens=False).input_ids == theirs.encode(text)


def test_last_merge() -> None:
    ranks = {b"a": 0, b"b": 1, b"c": 2, b"bc": 3, b"ab": 4, b"abc": 5}
    assert last_merge(b"abc", ranks) == (b"a", b"bc")
    assert last_merge(b"ab", ranks) == (b"a", b"b")


def test_a_shorter_vocabulary(tokenizer: Any, tmp_path: Path) -> None:
    """Fewer merges and lower special ids; whatever is written can still be read back."""
    small = build_tokenizer("multilingual", ranks=600)
    assert len(small) == 600 + 51865 - 50257
    ids = SpecialIds.of(small)
    assert (ids.end, ids.timestamp_begin, ids.is_multilingual) == (600, len(small) - 1501, True)
    for text in (" one", " three zero", "नमस्ते 🏳️‍🌈"):
        ours, theirs = (t(text, add_special_tokens=False).input_ids for t in (small, tokenizer))
        assert max(ours) < 600
        assert len(ours) >= len(theirs)
        assert small.decode(ours) == text
    common = (t(" the", add_special_tokens=False).input_ids for t in (small, tokenizer))
    assert len({tuple(ids) for ids in common}) == 1
    small.save_pretrained(tmp_path)
    again = WhisperTokenizerFast.from_pretrained(tmp_path, local_files_only=True)
    assert again(" three zero").input_ids == small(" three zero").input_ids


@pytest.mark.parametrize(
    ("kind", "ranks", "message"),
    [
        ("multilingual", 255, "at least 256"),
        ("multilingual", 60000, "at most 50257"),
        ("english", 600, "used as a whole"),
    ],
)
@pytest.mark.usefixtures("tokenizer")
def test_impossible_vocabularies(kind: str, ranks: int, message: str) -> None:
    with pytest.raises(WhisperError, match=message):
        build_tokenizer(kind, ranks)


def test_unknown_kind() -> None:
    with pytest.raises(WhisperError, match="choose multilingual, multilingual-v3, english"):
        build_tokenizer("klingon")


@pytest.mark.parametrize("installed", [False, True], ids=["nothing", "another package"])
def test_missing_vocabulary(
    installed: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A package called whisper may be a quite different one."""
    spec = importlib.machinery.ModuleSpec("whisper", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    found = spec if installed else None
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: found)
    with pytest.raises(MissingDependencyError, match="install openai-whisper"):
        build_tokenizer("english")
