"""A tiny Whisper teacher, a student of it, and labelled noise."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from espnet_kd.data.kaldi_dir import KaldiDir, write_kaldi_dir
from espnet_kd.data.label_folder import write_label_folder
from espnet_kd.data.pseudo_labels import PseudoLabel
from espnet_kd.whisper.label_text import transcript
from espnet_kd.whisper.load import WhisperBundle
from espnet_kd.whisper.shrink import shrink_whisper
from tests.unit.whisper.tiny import tiny_bundle

WORDS = ("one", "two", "three", "four")
POSITIONS = 50
"""Encoder positions: one second."""


@functools.cache
def tiny_teacher() -> WhisperBundle:
    """Two encoder and three decoder layers, 1 s of context, 48 tokens; do not change it."""
    return tiny_bundle(
        encoder_layers=2, decoder_layers=3, max_source_positions=POSITIONS,
        max_target_positions=48, name="teacher",
    )  # fmt: skip


def tiny_student(**layers: Any) -> WhisperBundle:
    """A new student with the first and last decoder layer."""
    return shrink_whisper(tiny_teacher(), **{"decoder_layers": 2, **layers})[0]


def make_label(
    name: str, text: str, *, stamped: bool = False, seconds: float = 0.6, **changes: Any
) -> PseudoLabel:
    """A label of the teacher's kind in English."""
    teacher = tiny_teacher()
    ids, tokenizer = teacher.specials, teacher.tokenizer
    words = tokenizer(f" {text}", add_special_tokens=False).input_ids
    times = ([ids.timestamp_begin], [ids.timestamp_begin + 20]) if stamped else ([], [])
    language = changes.pop("language", "en")
    prefix = ids.prefix(language, "transcribe", stamped)
    tokens = [*prefix, *times[0], *words, *times[1], ids.end]
    return PseudoLabel(**{
        "id": name, "text": text, "whisper_transcript": transcript(tokens, tokenizer, ids),
        "token_ids": tokens, "language": language, "task": "transcribe", "duration": seconds,
        "source_ids": [name], "condition_on_prev": 0, "reference": text, "avg_logprob": -0.1,
        "mean_entropy": 0.1, "num_tokens": len(tokens) - len(prefix), "truncated": False, **changes,
    })  # fmt: skip


def write_speech(folder: Path, names: list[str], seconds: float = 0.6) -> KaldiDir:
    """Noise for each name, and the tables that find it."""
    folder.mkdir(parents=True, exist_ok=True)
    data = KaldiDir({}, {})
    for number, name in enumerate(names):
        path = folder / f"{name}.wav"
        samples = round(16000 * seconds)
        wave_S = 0.1 * np.random.default_rng(number).standard_normal(samples)
        soundfile.write(str(path), wave_S, 16000)
        data.wav_scp[name], data.utt2spk[name] = str(path), name
        data.num_samples[name] = samples
    return data


def write_labelled(folder: Path, labels: list[PseudoLabel]) -> Path:
    """A folder of the pseudo-labeller with sound beside it."""
    data = write_speech(folder.with_name(f"{folder.name}_wav"), [label.id for label in labels])
    write_label_folder(folder, labels, data)
    return folder


def write_transcribed(folder: Path, texts: dict[str, str]) -> Path:
    """A Kaldi folder with transcripts."""
    data = write_speech(folder.with_name(f"{folder.name}_wav"), list(texts))
    data.text = texts
    write_kaldi_dir(folder, data)
    return folder


def labelled(folder: Path, number: int, **changes: Any) -> Path:
    """So many labels, every second one with timestamps, every third with a prompt."""
    rng = np.random.default_rng(number)
    labels = []
    for i in range(number):
        text = " ".join(rng.choice(WORDS, 3))
        prompt = labels[-1].token_ids[5:7] if i % 3 == 2 else None
        labels.append(
            make_label(f"u{i:02d}", text, stamped=i % 2 == 0, prompt_ids=prompt, **changes)
        )
    return write_labelled(folder, labels)
