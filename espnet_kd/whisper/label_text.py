"""Token ids of a label as text: with the special tokens, as published, and without."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from espnet_kd.whisper.specials import SpecialIds


def transcript(token_ids: Sequence[int], tokenizer: Any, specials: SpecialIds) -> str:
    """The published column form: ``<|startoftranscript|><|hi|>...<|0.00|> text<|2.50|>...``.

    Args:
        token_ids: a label with prefix and end.
        tokenizer: a transformers Whisper tokenizer.
        specials: ids of the special tokens.
    """
    parts: list[str] = []
    for is_time, group in itertools.groupby(token_ids, lambda i: i >= specials.timestamp_begin):
        ids = list(group)
        if is_time:
            parts += [f"<|{(i - specials.timestamp_begin) * 0.02:.2f}|>" for i in ids]
        else:
            parts.append(_decode(ids, tokenizer))
    return "".join(parts)


def plain_text(token_ids: Sequence[int], tokenizer: Any, specials: SpecialIds) -> str:
    """What a label says, without special tokens and timestamps, in single spaces."""
    text = _decode([i for i in token_ids if i < specials.end], tokenizer)
    return " ".join(text.split())


def _decode(ids: list[int], tokenizer: Any) -> str:
    text: str = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return text
