"""Whisper's tokenizers built offline, from the rank files that the openai-whisper package ships.

A rank file lists byte strings in the order in which byte-pair encoding learnt them; the merges
that transformers needs are implied by that order. Source: spec whisper.md 9.
"""

from __future__ import annotations

import base64
import functools
import importlib.util
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from espnet_kd.errors import MissingDependencyError, WhisperError
from espnet_kd.whisper.specials import END, NO_SPEECH, NO_TIMESTAMPS, START

KINDS = {
    "multilingual": ("multilingual.tiktoken", 99),
    "multilingual-v3": ("multilingual.tiktoken", 100),
    "english": ("gpt2.tiktoken", 99),
}
"""Kind of tokenizer to its rank file and its number of languages (large-v3 adds Cantonese)."""

TIMESTAMPS = [f"<|{step * 0.02:.2f}|>" for step in range(1501)]
"""Names of the timestamp tokens, 0.00 to 30.00 s."""


def build_tokenizer(kind: str, ranks: int | None = None) -> Any:
    """Build a ``WhisperTokenizerFast`` that encodes as the published one does.

    Args:
        kind: ``multilingual`` (51865 tokens), ``multilingual-v3`` (51866) or ``english`` (51864).
        ranks: keep only so many byte strings, those that were learnt first, for a model so small
            that the published vocabulary would be most of it. Text becomes more and shorter
            tokens; special tokens and timestamps are all there.

    Raises:
        WhisperError: no such kind, or a number of byte strings that is impossible.
        MissingDependencyError: openai-whisper is not installed.
    """
    if kind not in KINDS:
        raise WhisperError(f"tokenizer {kind!r} is unknown; choose {', '.join(KINDS)}")
    if ranks is not None and kind == "english":
        # Where its end token stands is how an English-only vocabulary is recognised.
        raise WhisperError("an English-only vocabulary is used as a whole; take multilingual")
    from transformers import WhisperTokenizerFast

    normalizer = assets().parent / "normalizers" / "english.json"
    file, languages = KINDS[kind]
    specials = _special_names(languages)
    return WhisperTokenizerFast(
        tokenizer_object=_backend(file, specials, ranks),
        normalizer_file=str(normalizer),
        pad_token=END,
        additional_special_tokens=specials,
        model_max_length=448,
    )


def assets() -> Path:
    """Folder with the rank files inside the installed openai-whisper package.

    Raises:
        MissingDependencyError: it is not installed (an unrelated package is called whisper too).
    """
    found = importlib.util.find_spec("whisper")
    folders = [] if found is None else list(found.submodule_search_locations or [])
    for folder in folders:
        if (Path(folder) / "assets" / "multilingual.tiktoken").is_file():
            return Path(folder) / "assets"
    raise MissingDependencyError(
        "Whisper's vocabulary comes with the package openai-whisper, which is not installed; "
        "install it with `uv pip install openai-whisper` (extra `whisper`), or use the tokenizer "
        "files of an existing model"
    )


def _special_names(languages: int) -> list[str]:
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    return [
        END,
        START,
        *(f"<|{code}|>" for code in list(LANGUAGES)[:languages]),
        "<|translate|>",
        "<|transcribe|>",
        "<|startoflm|>",
        "<|startofprev|>",
        NO_SPEECH[0],
        NO_TIMESTAMPS,
    ]


def _backend(file: str, specials: list[str], ranks: int | None) -> Any:
    """The ``tokenizers.Tokenizer`` with special tokens and timestamps behind the ranks."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    vocabulary, merges = _byte_pairs(file, ranks)
    backend = Tokenizer(models.BPE(vocabulary, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(name, normalized=False) for name in specials])
    backend.add_tokens([AddedToken(name, normalized=False) for name in TIMESTAMPS])
    return backend


@functools.cache
def _byte_pairs(file: str, most: int | None) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges in transformers' printable alphabet of bytes."""
    from transformers.models.gpt2.tokenization_gpt2 import bytes_to_unicode

    letters: dict[int, str] = bytes_to_unicode()

    def printable(token: bytes) -> str:
        return "".join(letters[byte] for byte in token)

    ranks = _first_ranks(_read_ranks(assets() / file), most)
    merges = [last_merge(token, ranks) for token in sorted(ranks, key=ranks.__getitem__)
              if len(token) > 1]  # fmt: skip
    return (
        {printable(token): rank for token, rank in ranks.items()},
        [(printable(left), printable(right)) for left, right in merges],
    )


def _first_ranks(ranks: dict[bytes, int], most: int | None) -> dict[bytes, int]:
    """The byte strings of lowest rank; the single bytes come first, so any text can be written."""
    if most is None:
        return ranks
    if not 256 <= most <= len(ranks):
        raise WhisperError(f"{most} byte strings: give at least 256 and at most {len(ranks)}")
    return {token: rank for token, rank in ranks.items() if rank < most}


def _read_ranks(file: Path) -> dict[bytes, int]:
    """Byte strings and ranks; a line is the base64 of a string and its rank."""
    lines = (line.split() for line in file.read_bytes().splitlines() if line)
    return {base64.b64decode(token): int(rank) for token, rank in lines}


def last_merge(token: bytes, ranks: Mapping[bytes, int]) -> tuple[bytes, bytes]:
    """The two parts whose merge made ``token``: what remains when all earlier merges are done."""
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:
        joined = [ranks.get(left + right, len(ranks)) for left, right in pairwise(parts)]
        best = min(range(len(joined)), key=joined.__getitem__)
        parts[best : best + 2] = [parts[best] + parts[best + 1]]
    return parts[0], parts[1]
