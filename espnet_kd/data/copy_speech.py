"""Any speech as a Kaldi folder whose recordings every step reads as they are: 16 kHz, one channel.

Recordings that are so already stay where they lie; all others (MP3, other rates, stretches of
files, rows of a dataset) become FLAC files beside the tables, once, so that no epoch of a training
decodes and resamples them again.

Shape suffix: S samples.
"""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from espnet_kd.data.kaldi_check import check_kaldi_dir, refuse_other_data
from espnet_kd.data.kaldi_dir import KaldiDir, write_kaldi_dir, write_report
from espnet_kd.data.librispeech import MAX_BAD_SHARE
from espnet_kd.data.prepare import SKIPPED, is_made_of
from espnet_kd.data.recording import write_audio
from espnet_kd.data.speech_source import SpeechSource
from espnet_kd.errors import AudioError, DataDirError
from espnet_kd.utils.files import probe_folder, write_json
from espnet_kd.utils.progress import Progress
from espnet_kd.whisper.packing import Clip

AUDIO, MADE_OF = "audio", "made_of.json"
LONGEST_NAME = 120
"""Bytes; a file name has a speaker and an utterance and may have 255."""
TABLES = ("wav.scp", "utt2spk", "spk2utt", "text", "utt2num_samples", SKIPPED)


@dataclass(frozen=True)
class CopyPlan:
    """What of the speech is wanted."""

    most: int | None = None
    """Only so many utterances, drawn by ``seed``; None = all."""

    seed: int = 0
    """Of that draw."""

    max_seconds: float = 0.0
    """Longer utterances are left out; 0 = no limit."""

    max_bad_share: float = MAX_BAD_SHARE
    """Largest share of unusable recordings that are left out; more of them end the work."""

    threads: int = 4
    """Recordings at a time."""


def is_prepared(folder: str | Path, made_of: Mapping[str, Any]) -> bool:
    """Whether the folder is whole and was made of exactly this."""
    target = Path(folder)
    return is_made_of(target / MADE_OF, made_of) and not check_kaldi_dir(target)


def copy_speech(
    sources: Sequence[SpeechSource],
    folder: str | Path,
    plan: CopyPlan | None = None,
    made_of: Mapping[str, Any] | None = None,
) -> KaldiDir:
    """Write the Kaldi folder; FLAC files of an earlier attempt with the same ``made_of`` are kept.

    With several sources, utterances and speakers get the name of theirs before their own. Texts
    are written if every utterance has one.

    Args:
        sources: in this order.
        folder: gets wav.scp, utt2spk, text, utt2num_samples, ``audio/`` and skipped.txt.
        plan: how many and which.
        made_of: plain values that say where the speech is from; see :func:`is_prepared`.

    Raises:
        DataDirError: no utterance is left, too many recordings are unusable, or the folder holds
            data that was not made here.
        KDError: the folder cannot be written.
    """
    plan, target = plan or CopyPlan(), Path(folder)
    # Tables disappear while a folder is made, so they must be of an earlier attempt.
    refuse_other_data(target, MADE_OF, "that was not made by this command", TABLES)
    probe_folder(target)
    if (target / MADE_OF).is_file() and not is_made_of(target / MADE_OF, made_of or {}):
        shutil.rmtree(target / AUDIO, ignore_errors=True)
    for name in TABLES:  # until wav.scp is there again, the folder is not whole
        (target / name).unlink(missing_ok=True)
    write_json(target / MADE_OF, dict(made_of or {}))
    skipped: list[str] = []
    chosen = _choose(list(_clips(sources, plan, skipped)), plan)
    data = KaldiDir({}, {})
    with (
        Progress(f"speech {target.name}", len(chosen), "utterances") as progress,
        ThreadPoolExecutor(plan.threads) as pool,
    ):
        places = pool.map(lambda job: _place(job, target), chosen)
        for job, place in zip(chosen, places, strict=True):
            progress.reach(progress.done + 1)
            if isinstance(place, AudioError):
                skipped.append(str(place))
            else:
                _add(data, job, place)
    _judge(target, len(data), skipped, plan)
    if len(data.text) < len(data.wav_scp):
        data.text = {}
    if skipped:
        write_report(target / SKIPPED, skipped)
    write_kaldi_dir(target, data)
    return data


@dataclass(frozen=True)
class _Job:
    source: SpeechSource
    clip: Clip
    utterance: str
    speaker: str


def _clips(sources: Sequence[SpeechSource], plan: CopyPlan, skipped: list[str]) -> Iterator[_Job]:
    seen: set[str] = set()
    for source in sources:
        prefix = f"{_word(source.name)}-" if len(sources) > 1 else ""
        for clip in source.clips(lambda _, reason: skipped.append(reason)):
            if plan.max_seconds and clip.samples > 16000 * plan.max_seconds:
                continue
            speaker = f"{prefix}{_word(clip.speaker)}" if clip.speaker else ""
            utterance = f"{prefix}{_word(clip.id)}"
            if not utterance.startswith(speaker):
                utterance = f"{speaker}-{_word(clip.id)}"
            if utterance in seen:
                raise DataDirError(f"utterance {utterance} is there twice; ids must differ")
            seen.add(utterance)
            yield _Job(source, clip, utterance, speaker or utterance)


def _choose(jobs: list[_Job], plan: CopyPlan) -> list[_Job]:
    if plan.most is None or plan.most >= len(jobs):
        return jobs
    chosen = random.Random(plan.seed).sample(range(len(jobs)), plan.most)
    return [jobs[index] for index in sorted(chosen)]


def _place(job: _Job, target: Path) -> Path | AudioError:
    """Where the recording is, after it was written if it had to be."""
    clip = job.clip
    try:
        original = None if clip.ranged else job.source.original(clip)
        if original is not None and Path(original).suffix.lower() in (".wav", ".flac"):
            return Path(original).absolute()
        path = (target / AUDIO / f"{job.utterance}.flac").absolute()
        if not path.is_file():
            write_audio(path, job.source.read(clip))
        return path
    except AudioError as error:
        return error


def _add(data: KaldiDir, job: _Job, path: Path) -> None:
    data.wav_scp[job.utterance] = str(path)
    data.utt2spk[job.utterance] = job.speaker
    data.num_samples[job.utterance] = job.clip.samples
    text = " ".join((job.clip.text or "").split())
    if text:
        data.text[job.utterance] = text


def _judge(target: Path, good: int, skipped: Sequence[str], plan: CopyPlan) -> None:
    total = good + len(skipped)
    if not good:
        why = f"; the first: {skipped[0]}" if skipped else ""
        raise DataDirError(f"{target}: no utterance is left{why}")
    if len(skipped) > plan.max_bad_share * total:
        raise DataDirError(
            f"{target}: {len(skipped)} of {total} recordings are unusable, more than "
            f"{plan.max_bad_share:.0%} (--max_bad_share); the first: {skipped[0]}"
        )


def _word(text: str) -> str:
    """A name for tables and file systems; letters of any script stay, of long names the end."""
    return re.sub(r"[^\w.+-]+", "_", text).encode()[-LONGEST_NAME:].decode(errors="ignore")
