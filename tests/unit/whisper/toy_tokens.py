"""A vocabulary small enough to read: text is below 100, special tokens from there on."""

from __future__ import annotations

from espnet_kd.whisper.specials import SpecialIds

IDS = SpecialIds(
    start=101, end=100, translate=104, transcribe=105, startofprev=107, nospeech=108,
    notimestamps=109, timestamp_begin=110, languages={"en": 102, "hi": 103}, is_multilingual=True,
)  # fmt: skip
ENGLISH = SpecialIds(**{**IDS.__dict__, "is_multilingual": False})
PREFIX = [101, 103, 105]
STAMPED = [*PREFIX, 110, 7, 8, 120, 120, 9, 130, 100]
PLAIN = [*PREFIX, 109, 7, 8, 9, 100]
