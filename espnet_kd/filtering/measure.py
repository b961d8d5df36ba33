"""What a measure is: a name, a direction, what it needs, and a score for every label."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from espnet_kd.data.audio import Wave
from espnet_kd.data.pseudo_labels import PseudoLabel
from espnet_kd.data.recordings import Recordings
from espnet_kd.errors import ConfigError, DataDirError
from espnet_kd.utils.stamps import stamp_of_folder
from espnet_kd.whisper.wer_filter import Score


@dataclass(frozen=True)
class Item:
    """One label and where its audio is."""

    label: PseudoLabel
    """The label."""

    recordings: Recordings | None = None
    """Audio of its folder; None without wav.scp."""

    def speech(self) -> str:
        """Tells the speech from that of other data with the same ids, without opening it."""
        return f"{self.label.duration:.4f} {' '.join(self.label.source_ids)}"

    def wave(self) -> Wave:
        """The utterance's audio, (S,) float32 at 16 kHz.

        Raises:
            DataDirError: the folder has no audio.
            AudioError: the recording cannot be used.
        """
        if self.recordings is None:
            raise DataDirError(
                f"utterance {self.label.id}: its folder has no wav.scp; this measure listens to "
                "the audio"
            )
        return self.recordings.wave(self.label.id)


@dataclass(frozen=True)
class MeasureOptions:
    """Everything that measures can be told; each reads what it needs."""

    language: str | None = None
    """Code of the labels' language; None: each label's own."""

    normaliser: str = "auto"
    """``auto``, ``english``, ``basic``, ``arabic``, ``none`` or ``published``."""

    wer_rule: str = "fixed"
    """``fixed``, or ``upstream`` and ``fork`` to reproduce published decisions."""

    tokenizer: str | None = None
    """Whisper folder whose tokenizer reads labels that are ids, and whose normalizer.json
    (spellings) the English normaliser uses; by default that of the openai-whisper package."""

    proxy_text: Path | None = None
    """Kaldi ``text`` file with what a second ASR system heard."""

    proxy_model: str | None = None
    """Folder of a second ASR model (Whisper, CTC or any of transformers') to run instead."""

    student: str | None = None
    """Whisper folder of a student, for ``agreement``."""

    lm: str | None = None
    """Folder of a causal language model, for ``nnll``."""

    embedder: str = "sonar"
    """``sonar`` (package sonar-space), or a folder: CLAP compares speech and text, any other
    encoder the texts of label and proxy."""

    sonar_speech_encoder: str | None = None
    """SONAR speech encoder; by default that of the language."""

    sonar_text_language: str | None = None
    """SONAR's name of the language, such as ``arb_Arab``; by default that of the language."""

    tts_voice: str | None = None
    """Voice of espeak-ng for ``pesq`` and ``mcd``; by default that of the language."""

    tts_wav_scp: Path | None = None
    """Kaldi ``wav.scp`` with the labels spoken by any other synthesiser, by utterance id."""

    device: str = "cpu"
    """Where models run."""

    batch_size: int = 8
    """Utterances per batch."""

    cache: Path | None = None
    """Folder for what is expensive and may be needed again (texts of the second ASR)."""

    def need(self, measure: str, *names: str) -> None:
        """Refuse a measure without its options.

        Raises:
            ConfigError: none of ``names`` is set.
        """
        if not any(getattr(self, name) for name in names):
            asked = " or ".join(f"--{name}" for name in names)
            raise ConfigError(f"measure {measure}", [f"needs {asked}"])


class Measure(ABC):
    """Scores labels; scores of one utterance do not depend on its neighbours."""

    name: ClassVar[str]
    """How users call it."""

    higher_is_better: ClassVar[bool]
    """Direction of the score."""

    about: ClassVar[str]
    """One line: what the score is, and what it needs."""

    @classmethod
    @abstractmethod
    def from_options(cls, options: MeasureOptions) -> Measure:
        """Make it from the options, models not loaded yet.

        Raises:
            ConfigError: an option is missing.
        """

    @abstractmethod
    def score(self, items: Sequence[Item]) -> list[Score]:
        """Score a batch; a label that cannot be scored gets no value and a note why.

        Raises:
            KDError: the measure itself cannot work (a package or a model is missing or damaged).
        """

    def signature(self) -> dict[str, Any]:
        """What scores depend on, for the cache: another signature, other scores."""
        return {"measure": self.name}


class ModelMeasure(Measure):
    """A measure with one model, in the folder that one option names.

    Args:
        folder: of the model; a subclass loads it when the first label is scored.
        options: of all measures.
    """

    option: ClassVar[str]
    """Name of the option."""

    def __init__(self, folder: str, options: MeasureOptions) -> None:
        self.folder = folder
        self.options = options

    @classmethod
    def from_options(cls, options: MeasureOptions) -> ModelMeasure:
        """Needs :attr:`option`."""
        options.need(cls.name, cls.option)
        return cls(getattr(options, cls.option), options)

    def signature(self) -> dict[str, Any]:
        """See :meth:`Measure.signature`."""
        weights = stamp_of_folder(self.folder)
        return {**super().signature(), **chosen(self.options, self.option), "weights": weights}


def chosen(options: MeasureOptions, *names: str) -> dict[str, Any]:
    """Some options as plain values, for a signature."""
    values = dataclasses.asdict(options)
    return {
        name: str(values[name]) if isinstance(values[name], Path) else values[name]
        for name in names
    }
