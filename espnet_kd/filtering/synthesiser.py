"""Speaks labels: with espeak-ng, or as some other synthesiser has spoken them already.

Shape suffix: S samples.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod

from espnet_kd.data.audio import AudioPolicy, Wave, read_audio, resample
from espnet_kd.data.espeak import Engine, Voice, trim
from espnet_kd.data.tables import read_table
from espnet_kd.errors import DataDirError, KDError
from espnet_kd.filtering.measure import Item, MeasureOptions

RATE = 16000
SLOWEST, FASTEST = 80, 450
"""Words per minute that espeak-ng takes."""

VOICES = {"en": "en-us", "fr": "fr-fr", "no": "nb", "zh": "cmn", "jw": "id", "tl": "id"}
"""Whisper's code to espeak-ng's voice where they differ (the last two: a close relative)."""


class Synthesiser(ABC):
    """Text to speech."""

    @abstractmethod
    def say(self, item: Item, seconds: float) -> Wave | None:
        """The label as (S,) float32 at 16 kHz, about ``seconds`` long if that can be chosen; None
        where it cannot be said.
        """


class EspeakSynthesiser(Synthesiser):
    """espeak-ng at the speed of the natural speech.

    Its flutter makes the same words sound a little different the second time, so that scores of a
    resumed run differ in their last digits.
    """

    def __init__(self, options: MeasureOptions) -> None:
        self.options = options
        self._engine: Engine | None = None

    def say(self, item: Item, seconds: float) -> Wave | None:
        """See :meth:`Synthesiser.say`: spoken twice, the second time at the right speed."""
        if self._engine is None:
            self._engine = Engine()
        voice = Voice(self._voice(item))
        once_S = self._speak(self._engine, item, voice)
        if once_S is None:
            return None
        speed = voice.words_per_minute * len(once_S) / RATE / max(seconds, 0.1)
        words_per_minute = round(min(max(speed, SLOWEST), FASTEST))
        return self._speak(
            self._engine, item, dataclasses.replace(voice, words_per_minute=words_per_minute)
        )

    def _voice(self, item: Item) -> str:
        if self.options.tts_voice:
            return self.options.tts_voice
        language = self.options.language or item.label.language or "en"
        return VOICES.get(language, language)

    def _speak(self, engine: Engine, item: Item, voice: Voice) -> Wave | None:
        try:
            wave_S = engine.say(item.label.text, voice)
        except KDError as error:
            if "said nothing" in str(error):
                return None
            raise KDError(
                f"utterance {item.label.id}: {error}; name a voice with --tts_voice, or give speech "
                "of another synthesiser with --tts_wav_scp"
            ) from error
        return trim(resample(wave_S, engine.sample_rate, RATE))


class SpokenBefore(Synthesiser):
    """Recordings of another synthesiser, by utterance id."""

    def __init__(self, options: MeasureOptions) -> None:
        assert options.tts_wav_scp is not None
        if not options.tts_wav_scp.is_file():
            raise DataDirError(f"{options.tts_wav_scp}: no such file")
        rows = read_table(options.tts_wav_scp).first()
        self._paths = {key: row.value for key, row in rows.items()}

    def say(self, item: Item, seconds: float) -> Wave | None:
        """See :meth:`Synthesiser.say`; the length is what it is."""
        path = self._paths.get(item.label.id)
        if path is None:
            return None
        return trim(read_audio(path, item.label.id, AudioPolicy(rate_policy="resample")))


def make_synthesiser(options: MeasureOptions) -> Synthesiser:
    """The synthesiser that the options ask for."""
    return SpokenBefore(options) if options.tts_wav_scp else EspeakSynthesiser(options)
