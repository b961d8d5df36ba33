"""Where speech comes from when it is labelled: clips in order, and their samples on request."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from espnet_kd.data.audio import AudioPolicy, Wave, inspect_audio, read_audio
from espnet_kd.data.kaldi_dir import KaldiDir, read_kaldi_dir
from espnet_kd.data.segments import Span
from espnet_kd.data.tables import sort_key
from espnet_kd.errors import AudioError, ConfigError
from espnet_kd.whisper.packing import Clip

_OVERSHOOT_SECONDS = 0.5
"""How far a stretch may go beyond its recording (Kaldi's extract-segments: 0.5 s)."""

Note = Callable[[str, str], None]
"""Called with an utterance that cannot be used and the reason."""


class SpeechSource(Protocol):
    """A set of utterances, read in one order that never changes."""

    name: str
    """For the names of segments and for messages."""

    total: int | None
    """Number of utterances; None where nobody knows."""

    streamed: bool
    """Whether clips carry their audio with them, because it cannot be found again."""

    def clips(self, note: Note) -> Iterator[Clip]:
        """All usable utterances, those of a speaker together; the others go to ``note``."""
        ...

    def read(self, clip: Clip) -> Wave:
        """Samples (S,) of a clip at the model's rate.

        Raises:
            AudioError: it cannot be used; the message names utterance and file.
        """
        ...

    def original(self, clip: Clip) -> str | None:
        """A file that holds the samples of the clip as they are; None if none does."""
        ...


@dataclass
class KaldiSource:
    """A Kaldi data folder, with ``segments`` or without, with ``text`` or without."""

    folder: Path
    """Holds wav.scp and utt2spk."""

    policy: AudioPolicy
    """What an acceptable recording is."""

    speakers: bool = True
    """Whether utt2spk says who speaks; otherwise all utterances count as one speaker's."""

    most: int | None = None
    """Only so many utterances; None = all."""

    streamed: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.data: KaldiDir = self._load()
        self.name = self.folder.resolve().name
        self._lengths: dict[str, int] = {}
        self._order = self._sorted()[: self.most]
        self.total: int | None = len(self._order)

    def _load(self) -> KaldiDir:
        return read_kaldi_dir(self.folder, need_files=False, segments=True)

    def _sorted(self) -> list[str]:
        utterances = list(self.data.segments or self.data.wav_scp)
        if self.speakers:
            utterances.sort(key=lambda utterance: sort_key(self.data.utt2spk[utterance]))
        return utterances

    def clips(self, note: Note) -> Iterator[Clip]:
        """Utterances in the order of their speakers, of a speaker in that of the folder."""
        for utterance in self._order:
            clip = self._checked(utterance, note)
            if clip is not None:
                yield clip

    def _checked(self, utterance: str, note: Note) -> Clip | None:
        try:
            return self._clip(utterance)
        except AudioError as error:
            note(utterance, str(error))
            return None

    def _clip(self, utterance: str) -> Clip:
        data, span = self.data, self.data.segments.get(utterance)
        if span is None:
            path, start = data.wav_scp[utterance], 0
            stop = data.num_samples.get(utterance) or self._count(path, utterance)
        else:
            path, start = data.wav_scp[span.recording], self._samples(span.start)
            stop = self._end(utterance, span, path)
        return Clip(
            utterance,
            stop - start,
            speaker=data.utt2spk[utterance] if self.speakers else "",
            text=data.text.get(utterance),
            where=path,
            start=start,
            ranged=span is not None,
        )

    def _end(self, utterance: str, span: Span, path: str) -> int:
        """End of a stretch in samples; tables round, so a little beyond the recording is its end.

        Raises:
            AudioError: the stretch goes on far behind the end.
        """
        if span.recording not in self._lengths:
            self._lengths[span.recording] = self._count(path, utterance)
        stop, length = self._samples(span.end), self._lengths[span.recording]
        if stop > length + self._samples(_OVERSHOOT_SECONDS) or length <= self._samples(span.start):
            raise AudioError(
                f"utterance {utterance}: {path}: ends at {length / self.policy.sample_rate:.2f} s, "
                f"segments says {span.start:.2f} to {span.end:.2f} s; correct segments"
            )
        return min(stop, length)

    def _samples(self, seconds: float) -> int:
        return round(seconds * self.policy.sample_rate)

    def _count(self, path: str, utterance: str) -> int:
        """Samples after resampling."""
        info = inspect_audio(path, utterance, self.policy)
        return -(-info.samples * self.policy.sample_rate // info.sample_rate)

    def read(self, clip: Clip) -> Wave:
        """Samples of a clip."""
        span = (clip.start, clip.start + clip.samples) if clip.ranged else None
        return check_length(read_audio(clip.where, clip.id, self.policy, span=span), clip)

    def original(self, clip: Clip) -> str | None:
        """The recording, unless it must be resampled or has several channels."""
        info = inspect_audio(clip.where, clip.id, self.policy)
        same = info.channels == 1 and info.sample_rate == self.policy.sample_rate
        return str(clip.where) if same else None


def check_most(most: int | None) -> None:
    """Refuse a limit of utterances that would silently take all, or count from the end.

    Raises:
        ConfigError: ``max_samples_per_split`` is below 1.
    """
    if most is not None and most < 1:
        problem = f"max_samples_per_split is {most}; give at least 1, or leave it out for all"
        raise ConfigError("speech", [problem])


def check_length(wave_S: Wave, clip: Clip) -> Wave:
    """Return (S,) samples if they are as many as the clip was planned with.

    Raises:
        AudioError: they are not, so that a segment would be longer than planned, or cut.
    """
    if len(wave_S) != clip.samples:
        raise AudioError(
            f"utterance {clip.id}: has {len(wave_S)} samples, {clip.samples} were announced; "
            "count utt2num_samples anew, or leave it out"
        )
    return wave_S
