"""Folders of speech with labels, and their utterances as a student sees them.

Shapes: S samples.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from espnet2.train.dataset import AbsDataset
from torch import Tensor

from espnet_kd.data.audio import AudioPolicy, inspect_audio
from espnet_kd.data.recordings import Recordings, open_recordings
from espnet_kd.errors import DataDirError, WhisperError
from espnet_kd.tasks.whisper_labels import Candidate, Spoken, labels_of
from espnet_kd.tasks.whisper_options import WhisperDistillConfig
from espnet_kd.whisper.collate import collate_tokens
from espnet_kd.whisper.features import log_mel
from espnet_kd.whisper.labels import (
    LabelOptions,
    audio_in_range,
    prepare_label,
    without_timestamps,
)
from espnet_kd.whisper.load import WhisperBundle
from espnet_kd.whisper.specials import SpecialIds

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
        self.utterances = self._usable(list(self.labels.scan()))

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
        for candidate in candidates:
            fault = self._fault(candidate, seconds[candidate.id])
            if fault is None:
                used.append(Usable(candidate.id, candidate.tokens, seconds[candidate.id]))
            else:
                faults[fault] += 1
        self._tell(used, faults, sum(seconds.values()))
        return used

    def _fault(self, candidate: Candidate, seconds: float) -> str | None:
        kd = self.kd
        if candidate.fault is not None and self.train:
            return candidate.fault
        if candidate.tokens > self.longest_label:
            return f"label longer than {self.longest_label} tokens"
        limits = {"max_seconds": self.context}
        if self.train:
            limits["max_seconds"] = min(self.context, kd.max_duration_in_seconds)
            limits["min_seconds"] = kd.min_duration_in_seconds
        if audio_in_range(round(seconds * SAMPLE_RATE), **limits):
            return None
        if seconds > limits["max_seconds"]:
            return f"longer than {limits['max_seconds']:g} s"
        return f"not longer than {limits.get('min_seconds', 0.0):g} s"

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


class Utterances(AbsDataset):
    """The utterances of several folders as ESPnet's data set.

    A key is ``utterance``, or ``number/utterance`` where there are several folders.

    Args:
        folders: what to read.
        prepare: from sound and words to what the collator takes.
    """

    def __init__(self, folders: Sequence[SpeechFolder], prepare: LabelPreparation) -> None:
        self.folders = folders
        self.prepare = prepare

    def keys(self) -> list[list[str]]:
        """Keys of each folder."""
        return [
            [self.key(number, usable.id) for usable in folder.utterances]
            for number, folder in enumerate(self.folders)
        ]

    def key(self, number: int, utterance: str) -> str:
        """Key of an utterance of the ``number``-th folder."""
        return utterance if len(self.folders) == 1 else f"{number}/{utterance}"

    def longest_first(self) -> list[str]:
        """Keys of all folders, those with the longest labels first: little is padded so."""
        entries = [
            (-usable.tokens, self.key(number, usable.id))
            for number, folder in enumerate(self.folders)
            for usable in folder.utterances
        ]
        return [key for _, key in sorted(entries)]

    def has_name(self, name: str) -> bool:
        """Whether a stream of this name is there."""
        return name in self.names()

    def names(self) -> tuple[str, ...]:
        """Streams as ESPnet calls them."""
        return ("speech", "text")

    def __getitem__(self, uid: str) -> tuple[str, dict[str, Any]]:
        folder, utterance = self.folders[0], uid
        if len(self.folders) > 1:
            number, _, utterance = uid.partition("/")
            folder = self.folders[int(number)]
        wave_S = folder.recordings.wave(utterance)
        spoken = folder.labels.read(utterance)
        return uid, {"wave": wave_S, "dataset": folder.name, **self.prepare(uid, spoken)}


class LabelPreparation:
    """Words of one utterance as the token sequence of this epoch.

    Args:
        specials: ids of the special tokens.
        options: probabilities of timestamps and prompts, longest sequence.
        train: False for validation: neither timestamps nor prompts, and the reference comes along.
    """

    def __init__(self, specials: SpecialIds, options: LabelOptions, *, train: bool) -> None:
        self.specials = specials
        self.options = options
        self.train = train

    def __call__(self, uid: str, spoken: Spoken) -> dict[str, Any]:
        """``token_ids``, and ``reference`` in validation."""
        if not self.train:
            return {"token_ids": spoken.token_ids, "reference": spoken.reference}
        prepared = prepare_label(
            spoken.token_ids, spoken.prompt_ids, _toss, self.specials, self.options, utterance=uid
        )
        if prepared.kept:
            return {"token_ids": prepared.token_ids}
        # Only a label with timestamps can be too long here; without them it was counted.
        ids = without_timestamps(spoken.token_ids, self.specials)
        if len(ids) > self.options.max_label_length:
            raise WhisperError(
                f"utterance {uid}: a label of {len(ids)} tokens does not fit into "
                f"{self.options.max_label_length}"
            )
        return {"token_ids": ids}


def _toss(probability: float) -> bool:
    # ESPnet seeds numpy's global generator per epoch and worker: a resumed run tosses alike.
    return bool(np.random.random() < probability)  # noqa: NPY002


class WhisperCollate:
    """Utterances to a batch, with log-mel features of the whole context.

    Args:
        bundle: the student.
        pad_to: longest label to pad to; None = the longest of the batch.
    """

    def __init__(self, bundle: WhisperBundle, pad_to: int | None = None) -> None:
        self.extractor = bundle.feature_extractor
        self.specials = bundle.specials
        self.pad_to = pad_to

    def __call__(
        self, data: Sequence[tuple[str, Mapping[str, Any]]]
    ) -> tuple[list[str], dict[str, Tensor | list[str]]]:
        """(ids, ``input_features``, ``decoder_input_ids``, ``labels`` and, in validation, texts)."""
        ids = [uid for uid, _ in data]
        batch: dict[str, Tensor | list[str]] = {
            "input_features": log_mel(self.extractor, [row["wave"] for _, row in data], ids),
            **collate_tokens(
                [row["token_ids"] for _, row in data], self.specials, pad_to=self.pad_to
            ),
        }
        if "reference" in data[0][1]:
            batch["reference"] = [row["reference"] for _, row in data]
            batch["dataset"] = [row["dataset"] for _, row in data]
        return ids, batch
