"""Make speaker identification data (VoxCeleb1's layout) of any corpus in LibriSpeech's layout."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from espnet_kd.data.audio import DEFAULT_POLICY, AudioPolicy, read_audio
from espnet_kd.data.kaldi_dir import KaldiDir
from espnet_kd.data.recording import Recording
from espnet_kd.data.voxceleb import speaker_ids, write_meta, write_voxceleb

MIN_UTTERANCES = 3
"""A speaker needs one utterance for training, one for development and one for the test."""


def make_speaker_id(
    data: KaldiDir, root: str | Path, *, per_speaker: int = 50, policy: AudioPolicy = DEFAULT_POLICY
) -> int:
    """Divide every speaker's utterances: 1 in 5 for the test, 1 in 5 for development, the rest.

    Args:
        data: a split, usually ``train-clean-100``.
        root: corpus folder to make.
        per_speaker: use at most this many utterances of each speaker.
        policy: how to read them.

    Returns:
        How many speakers there are; 0 = no speaker has three utterances and nothing was written.
    """
    chosen: dict[str, list[str]] = {}
    for utterance in sorted(data.utt2spk):
        chosen.setdefault(data.utt2spk[utterance], []).append(utterance)
    chosen = {
        speaker: utterances[:per_speaker]
        for speaker, utterances in chosen.items()
        if len(utterances) >= MIN_UTTERANCES
    }
    if not chosen:
        return 0
    splits = {split: _recordings(data, chosen, split, policy) for split in ("train", "dev", "test")}
    write_meta(root, write_voxceleb(root, splits, speaker_ids(chosen)))
    return len(chosen)


def split_of(position: int, count: int) -> str:
    """Which part the utterance at ``position`` of ``count`` belongs to."""
    every = min(5, count)
    return {every - 1: "test", every - 2: "dev"}.get(position % every, "train")


def _recordings(
    data: KaldiDir, chosen: dict[str, list[str]], split: str, policy: AudioPolicy
) -> Iterator[Recording]:
    for speaker, utterances in chosen.items():
        for position, utterance in enumerate(utterances):
            if split_of(position, len(utterances)) == split:
                wave_S = read_audio(data.wav_scp[utterance], utterance, policy)
                yield Recording(speaker, "1", position, data.text.get(utterance, ""), wave_S)
