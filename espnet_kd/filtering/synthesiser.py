"""Speaks labels: with espeak-ng, or as some other synthesiser has spoken them already.

Shape suffix: S samples.
"""

from __future__ import annotations

import dataclasses
import importlib
import multiprocessing
import signal
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

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
    def say(self, items: Sequence[Item], seconds: Sequence[float]) -> list[Wave | None]:
        """The labels as (S,) float32 at 16 kHz; None where one cannot be said.

        Args:
            items: labels.
            seconds: how long each shall be, where that can be chosen.
        """


class EspeakSynthesiser(Synthesiser):
    """espeak-ng at the speed of the natural speech.

    Every label is spoken in a process of its own: there can be one engine in a process only, and a
    fresh one always makes the same sound, whatever was said before.
    """

    def __init__(self, options: MeasureOptions) -> None:
        self.options = options
        # Resampling needs it: each process would import it again, for longer than it speaks.
        importlib.import_module("scipy.signal")

    def say(self, items: Sequence[Item], seconds: Sequence[float]) -> list[Wave | None]:
        """See :meth:`Synthesiser.say`: spoken twice, the second time at the right speed."""
        jobs = [
            _Job(item.label.id, item.label.text, self._voice(item), length)
            for item, length in zip(items, seconds, strict=True)
        ]
        context = multiprocessing.get_context("fork")
        with context.Pool(min(2, len(jobs)), _default_signals, maxtasksperchild=1) as pool:
            waves = pool.map(_speak, jobs, chunksize=1)
            pool.close()
            pool.join()
        return waves

    def _voice(self, item: Item) -> str:
        if self.options.tts_voice:
            return self.options.tts_voice
        language = self.options.language or item.label.language or "en"
        return VOICES.get(language, language)


@dataclass(frozen=True)
class _Job:
    utterance: str
    text: str
    voice: str
    seconds: float


def _default_signals() -> None:
    """A process that is ended ends, without the handlers of the command that forked it."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _speak(job: _Job) -> Wave | None:
    """Speak in a fresh process."""
    engine, voice = Engine(), Voice(job.voice)
    try:
        once_S = engine.say(job.text, voice)
        speed = voice.words_per_minute * len(once_S) / engine.sample_rate / max(job.seconds, 0.1)
        words_per_minute = round(min(max(speed, SLOWEST), FASTEST))
        wave_S = engine.say(job.text, dataclasses.replace(voice, words_per_minute=words_per_minute))
    except KDError as error:
        if "said nothing" in str(error):
            return None
        raise KDError(
            f"utterance {job.utterance}: {error}; name a voice with --tts_voice, or give speech of "
            "another synthesiser with --tts_wav_scp"
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

    def say(self, items: Sequence[Item], seconds: Sequence[float]) -> list[Wave | None]:
        """See :meth:`Synthesiser.say`; the lengths are what they are."""
        return [self._read(item.label.id) for item in items]

    def _read(self, utterance: str) -> Wave | None:
        path = self._paths.get(utterance)
        if path is None:
            return None
        return trim(read_audio(path, utterance, AudioPolicy(rate_policy="resample")))


def make_synthesiser(options: MeasureOptions) -> Synthesiser:
    """The synthesiser that the options ask for."""
    return SpokenBefore(options) if options.tts_wav_scp else EspeakSynthesiser(options)
