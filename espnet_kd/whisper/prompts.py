"""Previous-text prompts: the label of the segment before, for a model that shall use context.

Source: spec whisper.md 2.6. A prompt here is text and timestamps alone; whoever trains with it puts
startofprev before it.
"""

from __future__ import annotations

from collections.abc import Sequence

from espnet_kd.whisper.labels import previous_text
from espnet_kd.whisper.specials import SpecialIds


def prompt_of(token_ids: Sequence[int], specials: SpecialIds) -> list[int] | None:
    """What a label says: its text and timestamps, without the tokens that steer; None if nothing.

    Args:
        token_ids: a whole label, with prefix and end.
        specials: ids of the special tokens.
    """
    kept = previous_text(token_ids, specials, timestamps=True)
    return kept if any(i < specials.end for i in kept) else None


def next_prompt(
    before: Sequence[int], goes_on: bool | int, specials: SpecialIds
) -> list[int] | None:
    """The prompt of a segment: the label before it, where the same speech goes on.

    Args:
        before: token ids of the label before, with prefix and end.
        goes_on: the segment's flag ``condition_on_prev``.
        specials: ids of the special tokens.
    """
    return prompt_of(before, specials) if goes_on else None


def published_prompt(
    before: Sequence[int], flag: bool | int, specials: SpecialIds
) -> list[int] | None:
    """The same with the quirks of the published command, to continue data that was made by it.

    It starts with startofprev (training adds another), keeps notimestamps, and only the boolean
    False stops it: the stored flags are 0 and 1, so every segment but the first gets one.

    Args:
        before: token ids of the label before, with prefix and end.
        flag: the segment's stored flag.
        specials: ids of the special tokens.
    """
    if flag is False:
        return None
    steering = 3 if specials.is_multilingual else 1
    return [specials.startofprev, *[i for i in before if i != specials.end][steering:]]
