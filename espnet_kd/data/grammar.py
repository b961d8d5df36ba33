"""What is said in corpora made for intents, slots and queries: a household, or digits alone.

:data:`HOUSEHOLD` is for voices that can say any word. :data:`DIGIT_CODES` is for recordings of
single digits: there the digits stand for something else, as in a telephone menu.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from espnet_kd.data.vocabulary import COMMANDS, DIGITS, OTHERS, random_sentence

Random = np.random.Generator


@dataclass(frozen=True)
class Command:
    """A sentence that means an action on an object in a place."""

    text: str
    action: str
    object: str
    location: str


@dataclass(frozen=True)
class SlotSentence:
    """A sentence whose words are tagged with slots; ``O`` = no slot."""

    words: tuple[str, ...]
    tags: tuple[str, ...]
    intent: str


@dataclass(frozen=True)
class Grammar:
    """Everything that can be said."""

    commands: tuple[Command, ...]
    """All of them, ordered so that the first four have every action, object and location."""

    slots: tuple[str, ...]
    """Names of the slots, sorted."""

    words: tuple[str, ...]
    """Words of :attr:`sentence` that are worth looking for."""

    sentence: Callable[[Random], str]
    """Draws a sentence."""

    slot_sentence: Callable[[Random], SlotSentence]
    """Draws a sentence with slots."""


def cross(
    actions: tuple[str, ...], objects: tuple[str, ...], places: tuple[str, ...]
) -> list[tuple[str, str, str]]:
    """Combine four actions, three objects and three places so that each occurs early."""
    count = len(actions) * len(objects)
    return [
        (actions[k % 4], objects[k % 3], places[(k + k // count) % 3]) for k in range(3 * count)
    ]


_VERBS = {
    "activate": "turn on the",
    "deactivate": "turn off the",
    "increase": "turn up the",
    "decrease": "turn down the",
}
_PLACES = {"none": "", "kitchen": " in the kitchen", "bedroom": " in the bedroom"}
_VALUES = {
    "artist": ("madonna", "elvis", "the doors"),
    "city": ("paris", "new york", "london"),
    "music_item": ("song", "album", "track"),
    "party_size_number": tuple(DIGITS)[2:],
    "playlist": ("party", "road trip", "morning"),
    "rating_value": tuple(DIGITS)[:6],
    "timeRange": ("today", "tomorrow", "next week"),
}
_TEMPLATES = (
    ("PlayMusic", "play the {music_item} by {artist}"),
    ("AddToPlaylist", "add this {music_item} to my {playlist} playlist"),
    ("GetWeather", "what is the weather in {city} {timeRange}"),
    ("BookRestaurant", "book a table for {party_size_number} in {city} {timeRange}"),
    ("RateBook", "give this book {rating_value} out of five stars"),
)


def _household_commands() -> tuple[Command, ...]:
    rows = cross(tuple(_VERBS), ("lights", "music", "heat"), tuple(_PLACES))
    return tuple(Command(f"{_VERBS[a]} {o}{_PLACES[p]}", a, o, p) for a, o, p in rows)


def _household_slots(rng: Random) -> SlotSentence:
    intent, template = _TEMPLATES[rng.integers(len(_TEMPLATES))]
    words: list[str] = []
    tags: list[str] = []
    for piece in template.split():
        slot = piece.strip("{}") if piece.startswith("{") else "O"
        said = piece if slot == "O" else str(rng.choice(_VALUES[slot]))
        words += said.split()
        tags += [slot] * len(said.split())
    return SlotSentence(tuple(words), tuple(tags), intent)


HOUSEHOLD = Grammar(
    commands=_household_commands(),
    slots=tuple(sorted(_VALUES)),
    words=tuple(w for w in (*DIGITS, *COMMANDS, *OTHERS) if len(w) > 3),
    sentence=random_sentence,
    slot_sentence=_household_slots,
)
"""Sentences of a household, for synthetic voices."""


def _digit_commands() -> tuple[Command, ...]:
    """Three digits: the action (zero-three), the object (four-six), the place (seven-nine)."""
    names = tuple(DIGITS)
    rows = cross(names[:4], names[4:7], names[7:])
    return tuple(Command(f"{a} {o} {p}", a, o, p) for a, o, p in rows)


def _digit_sentence(rng: Random) -> str:
    return " ".join(rng.choice(list(DIGITS), size=rng.integers(3, 8)))


def _digit_slots(rng: Random) -> SlotSentence:
    """After ``zero`` two digits are a ``number``, after ``nine`` one is a ``code``."""
    free = list(DIGITS)[1:9]
    parts = [[("zero", "O"), *((str(d), "number") for d in rng.choice(free, 2))]]
    parts += [[("nine", "O"), (str(rng.choice(free)), "code")]]
    chosen = [parts[0]] if (kind := rng.integers(3)) == 0 else [parts[1]] if kind == 1 else parts
    fillers = [[(str(rng.choice(free)), "O")] for _ in range(rng.integers(1, 3))]
    pieces = [*chosen, *fillers]
    pairs = [pair for i in rng.permutation(len(pieces)) for pair in pieces[i]]
    return SlotSentence(
        tuple(word for word, _ in pairs),
        tuple(tag for _, tag in pairs),
        ("Number", "Code", "Both")[kind],
    )


DIGIT_CODES = Grammar(
    commands=_digit_commands(),
    slots=("code", "number"),
    words=tuple(DIGITS),
    sentence=_digit_sentence,
    slot_sentence=_digit_slots,
)
"""Strings of digits that stand for commands and slots, for recordings of single digits."""
