"""Stage 1: a test set of long recordings where a corpus has none: clips of a set one after another.

``join_recordings.py data/test --out data/long --seconds 120`` joins clips in the order of the
folder, with half a second of silence between them, until a recording has that length.

Shape suffix: S samples.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from espnet_kd.data.audio import AudioPolicy
from espnet_kd.data.kaldi_dir import KaldiDir, read_kaldi_dir, write_kaldi_dir
from espnet_kd.data.recording import write_audio
from espnet_kd.data.recordings import Recordings
from espnet_kd.errors import KDError

RATE = 16000
PAUSE = 0.5
"""Seconds of silence."""


def groups(data: KaldiDir, seconds: float) -> Iterator[list[str]]:
    """Utterances that together have at least this length; a shorter rest is left out."""
    group: list[str] = []
    samples = 0
    for utterance in data.wav_scp:
        group.append(utterance)
        samples += data.num_samples[utterance] + round(PAUSE * RATE)
        if samples >= seconds * RATE:
            yield group
            group, samples = [], 0


def join(source: Path, target: Path, seconds: float) -> KaldiDir:
    """Write the folder.

    Raises:
        KDError: the source has no transcripts or lengths, or is shorter than one recording.
    """
    data = read_kaldi_dir(source, need_text=True)
    if not data.num_samples:
        raise KDError(f"{source}: no utt2num_samples; prepare it with bin.prepare_speech")
    recordings, joined = Recordings(data, AudioPolicy()), KaldiDir({}, {})
    pause_S = np.zeros(round(PAUSE * RATE), dtype=np.float32)
    for number, group in enumerate(groups(data, seconds)):
        name = f"long-{number:05d}"
        waves = [part for utterance in group for part in (recordings.wave(utterance), pause_S)]
        wave_S = np.concatenate(waves)
        path = (target / "audio" / f"{name}.flac").absolute()
        write_audio(path, wave_S)
        joined.wav_scp[name], joined.utt2spk[name] = str(path), name
        joined.text[name] = " ".join(data.text[utterance] for utterance in group)
        joined.num_samples[name] = len(wave_S)
    if not joined.wav_scp:
        raise KDError(f"{source}: {data.hours * 3600:.0f} s do not make one of {seconds:g} s")
    write_kaldi_dir(target, joined)
    return joined


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    args = parser.parse_args()
    try:
        data = join(args.source, args.out, args.seconds)
    except KDError as error:
        sys.exit(f"join_recordings.py: {error}")
    print(f"{args.out}: {len(data)} recordings of at least {args.seconds:g} s, {data.hours:.2f} h")


if __name__ == "__main__":
    main()
