"""Pseudo-labels and their audio for the tests of filters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from espnet_kd.data.kaldi_dir import KaldiDir
from espnet_kd.data.label_folder import write_label_folder
from espnet_kd.data.pseudo_labels import PseudoLabel
from espnet_kd.filtering.measure import Item

RATE = 16000


def make_label(utterance: str = "u0", text: str = "one two", **changes: Any) -> PseudoLabel:
    values: dict[str, Any] = {
        "id": utterance,
        "text": text,
        "whisper_transcript": f"<|startoftranscript|><|en|><|0.00|>{text}<|0.50|><|endoftext|>",
        "token_ids": [],
        "language": "en",
        "task": "transcribe",
        "duration": 1.0,
        "source_ids": [utterance],
        "condition_on_prev": 0,
        "reference": None,
        "avg_logprob": -0.5,
        "mean_entropy": 0.5,
        "num_tokens": 3,
        "truncated": False,
    }
    return PseudoLabel(**(values | changes))


def items(*labels: PseudoLabel) -> list[Item]:
    return [Item(label) for label in labels]


def label_folder(folder: Path, labels: list[PseudoLabel], *, audio: bool = True) -> Path:
    """Labels with a second of noise each."""
    data = KaldiDir({}, {}) if audio else None
    for number, label in enumerate(labels):
        if data is None:
            break
        path = folder.parent / f"{folder.name}-{label.id}.wav"
        noise = 0.1 * np.random.default_rng(number).standard_normal(RATE)
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, noise.astype(np.float32), RATE)
        data.wav_scp[label.id] = str(path)
        data.utt2spk[label.id] = label.id
        data.num_samples[label.id] = RATE
    write_label_folder(folder, labels, data)
    return folder
