"""Folders of speech with labels: which of their utterances are used, and why others are not."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from espnet_kd.data.audio import AudioPolicy, inspect_audio
from espnet_kd.data.recordings import Recordings, open_recordings
from espnet_kd.errors import DataDirError
from espnet_kd.tasks.whisper_labels import Candidate, labels_of
from espnet_kd.tasks.whisper_options import WhisperDistillConfig
from espnet_kd.utils.progress import Progress
from espnet_kd.whisper.labels import audio_in_range
from espnet_kd.whisper.load import WhisperBundle

_LOG = logging.getLogger(__name__)

SAMPLE_RATE = 16000
_HEADER_READERS = 8


@dataclass(frozen=True)
class Usable:
    """An utterance that is used."""

    id: str
    """Utterance."""

    tokens: int
    """Length of its label."""

    seconds: float
    """Duration."""


class SpeechFolder:
    """One folder; what cannot be used is left out, and told.

    Args:
        folder: Kaldi data folder, or one of the pseudo-labeller or its filter.
        bundle: the student.
        kd: which utterances are used.
        train: False for validation, where only what the model cannot take is left out.
        name: what messages and reports call it.

    Raises:
        DataDirError: damaged tables, no labels, or nothing that can be used.
        WhisperError: labels of another kind of model or another language.
    """

    def __init__(
        self,
        folder: Path,
        bundle: WhisperBundle,
        kd: WhisperDistillConfig,
        *,
        train: bool,
        name: str,
    ) -> None:
        self.folder = folder
        self.name = name
        self.kd = kd
        self.train = train
        self.context = float(bundle.feature_extractor.chunk_length)
        self.longest_label = kd.longest_label(bundle.model.config.max_target_positions)
        self.recordings = open_recordings(folder, audio_policy(kd))
        data = self.recordings.data
        self.labels = labels_of(folder, data.text, bundle, kd, train=train)
        self.utterances = self._usable(self._candidates())

    def _candidates(self) -> list[Candidate]:
        """All labels; those that are scored take their time."""
        found: list[Candidate] = []
        total = len(self.recordings.utterances)
        with Progress(f"labels of {self.folder}", total, "utterances") as progress:
            for candidate in self.labels.scan():
                found.append(candidate)
                progress.reach(len(found))
        return found

    def _usable(self, candidates: Sequence[Candidate]) -> list[Usable]:
        present = set(self.recordings.utterances)
        silent = [c.id for c in candidates if c.id not in present]
        if silent:
            raise DataDirError(
                f"{self.folder}: {len(silent)} label(s) without audio in wav.scp or segments, e.g. "
                f"{', '.join(silent[:3])}; the files are not of one run"
            )
        seconds = durations(self.recordings, candidates)
        used: list[Usable] = []
        faults: Counter[str] = Counter()
        flags: Counter[str] = Counter()
        for candidate in candidates:
            fault = self._fault(candidate, seconds[candidate.id])
            if fault is None:
                used.append(Usable(candidate.id, candidate.tokens, seconds[candidate.id]))
                flags.update(candidate.flags)
            else:
                faults[fault] += 1
        self._tell(used, faults, sum(seconds.values()))
        if flags:
            listed = ", ".join(f"{count} flagged {flag}" for flag, count in flags.most_common())
            _LOG.warning(
                f"[train] {self.folder}: labels that may be bad are used: {listed}; "
                "kd_conf.drop_flagged or bin.whisper_filter leaves them out"
            )
        return used

    def _fault(self, candidate: Candidate, seconds: float) -> str | None:
        kd = self.kd
        if candidate.fault is not None and self.train:
            return candidate.fault
        if candidate.tokens > self.longest_label:
            return f"label longer than {self.longest_label} tokens"
        most, least = self.context, 0.0
        if self.train:
            most = min(most, kd.max_duration_in_seconds)
            least = kd.min_duration_in_seconds
        if audio_in_range(round(seconds * SAMPLE_RATE), min_seconds=least, max_seconds=most):
            return None
        return f"longer than {most:g} s" if seconds > most else f"not longer than {least:g} s"

    def _tell(self, used: Sequence[Usable], faults: Counter[str], seconds: float) -> None:
        total, kind = len(used) + sum(faults.values()), "train" if self.train else "valid"
        reasons = ", ".join(f"{count} {fault}" for fault, count in faults.most_common())
        if not used:
            raise DataDirError(
                f"{self.folder}: none of its {total} utterances can be used: {reasons or 'empty'}"
            )
        _LOG.info(
            f"[{kind}] {self.folder}: {len(used)} of {total} utterances, "
            f"{sum(u.seconds for u in used) / 3600:.2f} of {seconds / 3600:.2f} h, are used"
            + (f"; left out: {reasons}" if reasons else "")
        )


def audio_policy(kd: WhisperDistillConfig) -> AudioPolicy:
    """What an acceptable recording is."""
    return AudioPolicy(rate_policy=cast(Any, kd.rate_policy), channels=cast(Any, kd.channels))


def durations(recordings: Recordings, candidates: Iterable[Candidate]) -> dict[str, float]:
    """Seconds of each utterance: from its label, ``utt2num_samples``, ``segments``, or its header.

    Raises:
        AudioError: a recording whose header must be read cannot be used.
    """
    data, found, unknown = recordings.data, {}, []
    for candidate in candidates:
        key = candidate.id
        if candidate.seconds is not None:
            found[key] = candidate.seconds
        elif key in data.num_samples:
            found[key] = data.num_samples[key] / SAMPLE_RATE
        elif key in data.segments:
            found[key] = data.segments[key].end - data.segments[key].start
        else:
            unknown.append(key)

    def seconds(key: str) -> float:
        return inspect_audio(data.wav_scp[key], key, recordings.policy).seconds

    with ThreadPoolExecutor(_HEADER_READERS) as pool:
        return found | dict(zip(unknown, pool.map(seconds, unknown), strict=True))
