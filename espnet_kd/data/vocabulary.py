"""A small spoken vocabulary: digits, commands and what joins them, with phones and a grammar.

Phones are ARPAbet with stress digits, the symbols of the CMU dictionary.
"""

from __future__ import annotations

import numpy as np

DIGITS = {
    "zero": "Z IY1 R OW0",
    "one": "W AH1 N",
    "two": "T UW1",
    "three": "TH R IY1",
    "four": "F AO1 R",
    "five": "F AY1 V",
    "six": "S IH1 K S",
    "seven": "S EH1 V AH0 N",
    "eight": "EY1 T",
    "nine": "N AY1 N",
}
"""The ten digits, word -> phones."""

COMMANDS = {
    "yes": "Y EH1 S",
    "no": "N OW1",
    "up": "AH1 P",
    "down": "D AW1 N",
    "left": "L EH1 F T",
    "right": "R AY1 T",
    "on": "AA1 N",
    "off": "AO1 F",
    "stop": "S T AA1 P",
    "go": "G OW1",
}
"""The ten command words of Speech Commands, word -> phones."""

OTHERS = {
    "and": "AH0 N D",
    "back": "B AE1 K",
    "door": "D AO1 R",
    "lamp": "L AE1 M P",
    "move": "M UW1 V",
    "music": "M Y UW1 Z IH0 K",
    "please": "P L IY1 Z",
    "set": "S EH1 T",
    "the": "DH AH0",
    "then": "DH EH1 N",
    "turn": "T ER1 N",
    "wait": "W EY1 T",
    "window": "W IH1 N D OW0",
}
"""What the sentences need besides, word -> phones."""

LEXICON = {**DIGITS, **COMMANDS, **OTHERS}
"""All words with their phones."""

_DIGITS, _DIRECTIONS = list(DIGITS), ["up", "down", "left", "right", "back"]
_THINGS = ["lamp", "music", "door", "window"]


def random_sentence(rng: np.random.Generator) -> str:
    """Draw a sentence of 3-7 words; half of them are strings of digits."""
    if rng.random() < 0.5:
        return " ".join(rng.choice(_DIGITS, size=rng.integers(3, 7)))
    pieces = [
        f"turn {rng.choice(['on', 'off'])} the {rng.choice(_THINGS)}",
        f"set the {rng.choice(_THINGS)} {rng.choice(_DIGITS)} {rng.choice(_DIGITS)}",
        f"move {rng.choice(_DIRECTIONS)} {rng.choice(_DIGITS)}",
        f"go {rng.choice(_DIRECTIONS)} then {rng.choice(['stop', 'wait', 'go'])}",
        f"{rng.choice(['yes', 'no'])} {rng.choice(['stop', 'wait', 'go'])} please",
    ]
    sentence = str(rng.choice(pieces))
    if len(sentence.split()) == 3 and rng.random() < 0.5:
        sentence += f" and {rng.choice(_DIRECTIONS)} {rng.choice(_DIGITS)}"
    return sentence


def lexicon_lines(words: dict[str, str] | None = None) -> str:
    """Lexicon file as S3PRL's phone recognition reads it: ``WORD<TAB>phones``, sorted."""
    entries = LEXICON if words is None else words
    return "".join(f"{word.upper()}\t{entries[word]}\n" for word in sorted(entries))
