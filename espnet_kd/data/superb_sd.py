"""Diarisation: two speakers who talk over each other, in Kaldi folders as made of LibriMix.

``{train,dev,test}/`` have ``wav.scp`` (absolute paths), ``segments``, ``utt2spk``, ``spk2utt``,
``reco2dur`` and ``rttm``; recordings lie in ``wav/SPLIT/``.

Shape suffix: S samples at 16 kHz.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from espnet_kd.data.audio import Wave
from espnet_kd.data.kaldi_dir import KaldiDir, write_kaldi_dir
from espnet_kd.data.recording import write_audio
from espnet_kd.data.segments import Span
from espnet_kd.data.superb_job import SPLITS, LayoutJob
from espnet_kd.data.tables import write_table
from espnet_kd.data.talkers import RATE
from espnet_kd.utils.files import write_text


@dataclass(frozen=True)
class Turn:
    """An utterance in a conversation."""

    speaker: int
    start: int
    """First sample."""

    wave_S: Wave
    """What is said, (S,)."""

    @property
    def end(self) -> int:
        """Sample behind the last one."""
        return self.start + len(self.wave_S)


def write_conversations(job: LayoutJob) -> None:
    """Write conversations of all splits, one for each utterance of the extent."""
    for split in SPLITS:
        _write_split(job, split)


def _write_split(job: LayoutJob, split: str) -> None:
    data, durations, rttm = KaldiDir({}, {}), {}, []
    for number in range(len(job.speakers(split)) * job.utterances(split)):
        turns = _turns(job, split)
        wave_S = mix(job, turns)
        recording = f"{split}-{number:04d}"
        path = job.root / "wav" / split / f"{recording}.wav"
        write_audio(path, wave_S)
        data.wav_scp[recording] = str(path.absolute())
        durations[recording] = f"{len(wave_S) / RATE:.4f}"
        for index, turn in enumerate(turns):
            speaker, start, end = job.talker.name(turn.speaker), turn.start / RATE, turn.end / RATE
            utterance = f"{speaker}-{recording}-{index}"
            data.utt2spk[utterance] = speaker
            data.segments[utterance] = Span(recording, start, end)
            rttm.append(rttm_line(recording, start, end, speaker))
    folder = job.root / split
    write_table(folder / "reco2dur", durations)
    write_text(folder / "rttm", "".join(rttm))
    write_kaldi_dir(folder, data)


def rttm_line(recording: str, start: float, end: float, speaker: str) -> str:
    """Return NIST's line for a stretch of one speaker, in seconds."""
    times = f"{start:.4f} {end - start:.4f}"
    return f"SPEAKER {recording} 1 {times} <NA> <NA> {speaker} <NA> <NA>\n"


def _turns(job: LayoutJob, split: str) -> list[Turn]:
    """Two utterances of each of two speakers; the second speaker cuts in on the first."""
    pair = [int(s) for s in job.rng.choice(job.speakers(split), 2, replace=False)]
    turns: list[Turn] = []
    start = int(job.rng.integers(0, RATE // 2))
    for speaker in pair:
        mine = _monologue(job, speaker, split, start)
        turns += mine
        start += int(len(mine[0].wave_S) * job.rng.uniform(0.3, 0.8))
    return turns


def _monologue(job: LayoutJob, speaker: int, split: str, start: int) -> list[Turn]:
    """Two sentences with 0.3-1.2 s between them."""
    turns = []
    for _ in range(2):
        text = job.talker.grammar.sentence(job.rng)
        turns.append(Turn(speaker, start, job.talker.speak(speaker, text, split)))
        start = turns[-1].end + int(RATE * job.rng.uniform(0.3, 1.2))
    return turns


def mix(job: LayoutJob, turns: list[Turn]) -> Wave:
    """Put every speaker before a microphone of their own and add the signals: (S,)."""
    length = max(turn.end for turn in turns) + RATE // 4
    mixed_S = np.zeros(length, np.float32)
    for speaker in dict.fromkeys(turn.speaker for turn in turns):
        alone_S = np.zeros(length, np.float32)
        for turn in turns:
            if turn.speaker == speaker:
                alone_S[turn.start : turn.end] = turn.wave_S
        mixed_S += job.talker.microphone(alone_S, speaker)
    return np.clip(mixed_S, -0.99, 0.99)
