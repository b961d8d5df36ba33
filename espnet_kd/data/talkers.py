"""Who speaks in corpora that are made here: synthetic voices, or recordings of digits.

A talker has numbered speakers, says any sentence of its grammar in their voices, and puts what is
said in front of a microphone. What comes out depends on the seed and on the order of the calls.

Shape suffix: S samples at 16 kHz.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from espnet_kd.data.audio import Wave, resample
from espnet_kd.data.digits import RANGES, Digits, pause
from espnet_kd.data.espeak import Engine
from espnet_kd.data.grammar import DIGIT_CODES, HOUSEHOLD, Grammar
from espnet_kd.data.styles import NEUTRAL, Style
from espnet_kd.data.synthesis import SynthesisPlan
from espnet_kd.data.vocabulary import DIGITS
from espnet_kd.data.voices import cast, record
from espnet_kd.errors import DataDirError

RATE = 16000
"""Samples per second of everything that is said."""

FOLDS = 5
"""Parts of the training recordings; no recording is in two."""


class Talker(ABC):
    """A number of speakers.

    Args:
        grammar: what they can say.
        speakers: ``train``, ``dev`` and ``test`` -> numbers of the speakers heard there.
        verification: speakers of verification's training, and others for its trials.
        rng: decides everything that is random.
    """

    def __init__(
        self,
        grammar: Grammar,
        speakers: dict[str, tuple[int, ...]],
        verification: tuple[tuple[int, ...], tuple[int, ...]],
        rng: np.random.Generator,
    ) -> None:
        self.grammar = grammar
        self.speakers = speakers
        self.verification = verification
        self.rng = rng

    @abstractmethod
    def speak(self, speaker: int, text: str, part: str, style: Style = NEUTRAL) -> Wave:
        """Say ``text``.

        Args:
            speaker: number.
            text: words in lower case.
            part: ``train``, ``dev``, ``test`` or ``fold1`` to ``fold5``; talkers that repeat
                recordings have different ones in each (folds are parts of ``train``).
            style: how.

        Returns:
            (S,) samples without silence around them.
        """

    @abstractmethod
    def microphone(self, wave_S: Wave, speaker: int, volume_db: float = 0.0) -> Wave:
        """Return (S,) speech of one speaker at the level and with the noise of a recording."""

    def name(self, speaker: int) -> str:
        """Name of a speaker, digits only."""
        return str(1000 + speaker)

    def utterance(self, speaker: int, text: str, part: str, style: Style = NEUTRAL) -> Wave:
        """Say ``text`` into the microphone, with 60-250 ms of room before and after: (S,)."""
        spoken_S = self.speak(speaker, text, part, style)
        before, after = (int(n) for n in self.rng.integers(1000, 4000, size=2))
        return self.microphone(np.pad(spoken_S, (before, after)), speaker, style.volume_db)


class SyntheticTalker(Talker):
    """The voices of :mod:`espnet_kd.data.synthesis`, with the same numbers in the same splits.

    One of them per process, please: see :mod:`espnet_kd.data.espeak`.

    Args:
        seed: of the cast.
        rng: decides noise and pauses.
    """

    def __init__(self, seed: int, rng: np.random.Generator) -> None:
        plan = SynthesisPlan()
        first = max(plan.unlabelled_speakers, plan.labelled_speakers)
        middle, last = first + plan.heldout_speakers, first + 2 * plan.heldout_speakers
        train = tuple(range(plan.labelled_speakers))
        dev, test = tuple(range(first, middle)), tuple(range(middle, last))
        speakers = {"train": train, "dev": dev, "test": test}
        super().__init__(HOUSEHOLD, speakers, (train, (*dev, *test)), rng)
        self._cast = cast(last, seed)
        self._engine = Engine()

    def speak(self, speaker: int, text: str, part: str, style: Style = NEUTRAL) -> Wave:
        """Say ``text``; ``part`` makes no difference."""
        voice = self._cast[speaker].voice
        voice = replace(
            voice,
            pitch=min(99, round(voice.pitch * style.pitch)),
            pitch_range=min(99, round(voice.pitch_range * style.liveliness)),
            words_per_minute=round(voice.words_per_minute * style.pace),
        )
        return resample(self._engine.say(text, voice), self._engine.sample_rate, RATE)

    def microphone(self, wave_S: Wave, speaker: int, volume_db: float = 0.0) -> Wave:
        """Return speech with the tilt, level and noise of the speaker's microphone."""
        person = self._cast[speaker]
        louder = replace(person, loudness_db=person.loudness_db + volume_db)
        return record(wave_S, louder, self.rng)


class DigitTalker(Talker):
    """People whose digits were recorded one by one; strings of them with pauses.

    The same few people are heard everywhere (verification's trials excepted), never the same
    recordings. Within a part, a recording comes again only when all of its digit have been heard.

    Args:
        digits: from :func:`espnet_kd.data.digits.load_digits`.
        rng: decides which recordings and pauses.
    """

    def __init__(self, digits: Digits, rng: np.random.Generator) -> None:
        self._digits = digits
        self._people = sorted({person for person, _, _ in digits})
        everyone = tuple(range(len(self._people)))
        half = (len(everyone) + 1) // 2
        speakers = dict.fromkeys(("train", "dev", "test"), everyone)
        super().__init__(DIGIT_CODES, speakers, (everyone[:half], everyone[half:]), rng)
        self._queues: dict[tuple[int, str, int], list[int]] = {}

    def name(self, speaker: int) -> str:
        """Name of a speaker, as in the corpus of connected digits."""
        return str(2001 + speaker)

    def speak(self, speaker: int, text: str, part: str, style: Style = NEUTRAL) -> Wave:
        """String recorded digits together with pauses of 50-250 ms."""
        pieces: list[Wave] = []
        for word in text.split():
            if pieces:
                pieces.append(pause(self.rng, style.pace))
            pieces.append(self._recording(speaker, word, part))
        return restyle(np.concatenate(pieces), style)

    def _recording(self, speaker: int, word: str, part: str) -> Wave:
        digit, person = list(DIGITS).index(word), self._people[speaker]
        queue = self._queues.setdefault((speaker, part, digit), [])
        if not queue:
            known = [i for i in indexes(part) if (person, digit, i) in self._digits]
            if not known:
                raise DataDirError(f"FSDD has no {part} recording of {word} by {person}")
            queue += [int(i) for i in self.rng.permutation(known)]
        return self._digits[person, digit, queue.pop()]

    def microphone(self, wave_S: Wave, speaker: int, volume_db: float = 0.0) -> Wave:
        """Return speech at another level, with very faint noise (silence would be digital)."""
        noise_S = self.rng.standard_normal(len(wave_S)) * 3e-4
        changed_S = wave_S * 10 ** (volume_db / 20) + noise_S
        return np.clip(changed_S, -0.99, 0.99).astype(np.float32)


def indexes(part: str) -> Sequence[int]:
    """Recording numbers of a part of FSDD; ``foldN`` is every fifth of the training part."""
    if part.startswith("fold"):
        return RANGES["train"][int(part.removeprefix("fold")) - 1 :: FOLDS]
    return RANGES[part]


def restyle(wave_S: Wave, style: Style) -> Wave:
    """Play (S,) recorded speech at the style's speed and with its tremble."""
    if style.tape != 1.0:
        wave_S = resample(wave_S, round(100 * style.tape), 100)
    swing_S = np.sin(2 * np.pi * 7 * np.arange(len(wave_S)) / RATE)
    return (wave_S * (1 - style.tremolo * (0.5 + 0.5 * swing_S))).astype(np.float32)
