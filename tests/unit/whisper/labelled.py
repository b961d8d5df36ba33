"""Small labelling jobs: speech of 0.1 to 0.6 s, a teacher that hears 1 s."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import soundfile

from espnet_kd.bin.label_processes import run_job
from espnet_kd.bin.processes import Machine
from espnet_kd.data import label_job
from espnet_kd.data.audio import AudioPolicy
from espnet_kd.data.kaldi_dir import KaldiDir, write_kaldi_dir
from espnet_kd.data.label_job import KaldiOptions, LabelJob, ModelOptions
from espnet_kd.data.label_merge import Summary
from espnet_kd.data.labelling import PseudoLabelOptions
from espnet_kd.whisper.generate import TransformersBackend
from espnet_kd.whisper.hypothesis import DecodingOptions
from espnet_kd.whisper.load import load_whisper

RATE = 16000
LENGTHS = (0.3, 0.6, 0.2, 0.5, 0.4, 0.1, 0.6, 0.3, 0.2)
"""Seconds; the first six are speaker a's, the others b's."""


def write_noise(path: Path, seconds: float, seed: int, rate: int = RATE, channels: int = 1) -> Path:
    """A recording."""
    rng = np.random.default_rng(seed)
    wave = 0.3 * rng.uniform(-1, 1, (round(seconds * rate), channels))
    soundfile.write(str(path), wave, rate, subtype="PCM_16")
    return path


def kaldi_dir(folder: Path, *, text: bool = True, lengths: tuple[float, ...] = LENGTHS) -> Path:
    """A data folder with sound beside it."""
    wavs, speakers = {}, {}
    folder.mkdir(parents=True, exist_ok=True)
    for number, seconds in enumerate(lengths):
        speaker = "a" if number < 6 else "b"
        key = f"{speaker}-{number}"
        wavs[key] = str(write_noise(folder / f"{key}.wav", seconds, number))
        speakers[key] = speaker
    data = KaldiDir(wavs, speakers, {key: f"text of {key}" for key in wavs} if text else {})
    write_kaldi_dir(folder / "data", data)
    return folder / "data"


def job_of(teacher: Path, speech: Path, output: Path, **changes: Any) -> LabelJob:
    """A job with batches of two segments; ``changes`` replace fields, of ``label`` too."""
    fields = {field.name for field in dataclasses.fields(PseudoLabelOptions)}
    label = {"language": "en", **{k: v for k, v in changes.items() if k in fields}}
    job = LabelJob(
        model=ModelOptions(model_name_or_path=str(teacher)),
        data=KaldiOptions(data_dir=str(speech)),
        output_dir=str(output),
        max_duration_in_seconds=1.0,
        batch_size=2,
        policy=AudioPolicy(rate_policy="resample"),
        decoding=DecodingOptions(max_label_length=10),
        label=PseudoLabelOptions(**label),
    )
    return dataclasses.replace(job, **{k: v for k, v in changes.items() if k not in fields})


load_once = functools.cache(load_whisper)
"""Most of a tiny run's time goes into reading the tokenizer."""


def run(job: LabelJob, **machine: Any) -> Summary:
    """Run with a teacher that stays loaded."""
    with mock.patch.object(label_job, "load_whisper", load_once):
        return run_job(job, Machine(**machine))


def rows(folder: Path, name: str = "labels.jsonl") -> list[dict[str, Any]]:
    """Lines of a file."""
    return [json.loads(line) for line in (folder / name).read_text("utf-8").splitlines()]


def contents(folder: Path) -> dict[str, bytes]:
    """All files that a run leaves, but its options; paths inside are relative to the folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes().replace(str(folder).encode(), b"OUT")
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("options.json", ".running")
    }


class KilledError(Exception):
    """Stands for kill -9."""


def stop_after(monkeypatch: pytest.MonkeyPatch, batches: int) -> list[int]:
    """Let decoding fail after so many batches; returns the sizes of those that were decoded."""
    decode = TransformersBackend.generate
    decoded: list[int] = []

    def generate(self: Any, encoded: Any, prefixes: Any) -> Any:
        if len(decoded) == batches:
            raise KilledError
        decoded.append(len(prefixes))
        return decode(self, encoded, prefixes)

    monkeypatch.setattr(TransformersBackend, "generate", generate)
    return decoded


def kill_after(monkeypatch: pytest.MonkeyPatch, batches: int, job: LabelJob) -> None:
    """Run until so many batches are decoded."""
    with monkeypatch.context() as patch:
        stop_after(patch, batches)
        with pytest.raises(KilledError):
            run(job)
