"""Utterances of a Kaldi folder as waveforms: whole recordings, or stretches of them (`segments`).

Shape suffix: S samples.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from espnet_kd.data.audio import DEFAULT_POLICY, AudioPolicy, Wave, inspect_audio, read_audio
from espnet_kd.data.kaldi_dir import KaldiDir, read_kaldi_dir
from espnet_kd.data.segments import Span
from espnet_kd.errors import AudioError, DataDirError

OVERSHOOT_SECONDS = 0.5
"""How far a stretch may go beyond its recording (Kaldi's extract-segments: 0.5 s)."""

_HEADER_READERS, _SHOWN = 8, 20


class Recordings:
    """The audio of one folder by utterance, read when it is asked for.

    Args:
        data: the folder's tables.
        policy: what an acceptable recording is.
    """

    def __init__(self, data: KaldiDir, policy: AudioPolicy = DEFAULT_POLICY) -> None:
        self.data = data
        self.policy = policy
        self.utterances = list(data.segments or data.wav_scp)

    def wave(self, utterance: str) -> Wave:
        """Read one utterance: (S,) float32 at the policy's rate.

        Raises:
            DataDirError: the folder does not have it.
            AudioError: the recording cannot be used, or ends before the stretch does.
        """
        span = self.data.segments.get(utterance)
        recording = utterance if span is None else span.recording
        if recording not in self.data.wav_scp or (span is None and self.data.segments):
            raise DataDirError(
                f"utterance {utterance} has no audio: neither wav.scp nor segments names it"
            )
        path = self.data.wav_scp[recording]
        if span is None:
            return read_audio(path, utterance, self.policy)
        return read_audio(path, utterance, self.policy, span=self._samples(utterance, path, span))

    def count(self, utterance: str) -> int:
        """Samples of one utterance, from ``utt2num_samples`` or the recording's header.

        Raises:
            AudioError: the recording cannot be used, by its header, or ends before the stretch.
        """
        if utterance in self.data.num_samples:
            return self.data.num_samples[utterance]
        return self.inspect(utterance)

    def inspect(self, utterance: str) -> int:
        """Samples of one utterance, from the recording's header.

        Raises:
            AudioError: see :meth:`count`.
        """
        span = self.data.segments.get(utterance)
        path = self.data.wav_scp[utterance if span is None else span.recording]
        if span is not None:
            first, stop = self._samples(utterance, path, span)
            return stop - first
        info = inspect_audio(path, utterance, self.policy)
        return -(-info.samples * self.policy.sample_rate // info.sample_rate)

    def _samples(self, utterance: str, path: str, span: Span) -> tuple[int, int]:
        """First sample of a stretch and the one behind its last."""
        rate = self.policy.sample_rate
        info = inspect_audio(path, utterance, self.policy)
        length = -(-info.samples * rate // info.sample_rate)
        first, stop = round(span.start * rate), round(span.end * rate)
        if stop > length + OVERSHOOT_SECONDS * rate or first >= length:
            raise AudioError(
                f"utterance {utterance}: {path}: ends at {length / rate:.2f} s, segments says "
                f"{span.start:.2f} to {span.end:.2f} s; correct segments"
            )
        return first, min(stop, length)


def check_recordings(recordings: Recordings) -> None:
    """Read all headers, so that an utterance that cannot be used is not met after hours.

    Raises:
        DataDirError: lists the problems (the first twenty, and how many there are).
    """

    def problem(utterance: str) -> str | None:
        try:
            recordings.inspect(utterance)
        except AudioError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(_HEADER_READERS) as pool:
        problems = [text for text in pool.map(problem, recordings.utterances) if text is not None]
    if problems:
        more = f"\n  ... and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        listing = "".join(f"\n  - {text}" for text in problems[:_SHOWN])
        raise DataDirError(f"{len(problems)} utterance(s) cannot be used:{listing}{more}")


def open_recordings(folder: str | Path, policy: AudioPolicy = DEFAULT_POLICY) -> Recordings:
    """Read the tables of a folder; no audio is opened.

    Raises:
        DataDirError: lists all problems with file and line.
    """
    return Recordings(read_kaldi_dir(folder, segments=True), policy)
