"""What an extraction computes, and everything that decides it.

Shapes: S samples, T frames, D width, N codebooks.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from espnet_kd.checkpoints.quantizer import load_quantizer
from espnet_kd.data.array_ark import Array
from espnet_kd.data.audio import AudioPolicy, Wave
from espnet_kd.data.codes import count_samples
from espnet_kd.data.codes_info import CODES, EMBEDDINGS
from espnet_kd.data.length_batches import LengthLimits, fill_batches
from espnet_kd.data.recordings import Recordings, open_recordings
from espnet_kd.errors import AudioError, ConfigError, DataDirError, KDError
from espnet_kd.quantizer import Quantizer
from espnet_kd.tasks.teacher_layer import LayerOptions, TeacherLayer, load_teacher_layer
from espnet_kd.utils.options import too_small
from espnet_kd.utils.stamps import stamp_of_model

Batch = list[tuple[str, int]]
"""Utterances and their samples."""


@dataclass(frozen=True, kw_only=True)
class ExtractionJob:
    """Codes, or embeddings where there is no quantiser, of one data folder.

    Raises:
        ConfigError: numbers out of range.
    """

    data: str
    """Kaldi folder (wav.scp and utt2spk; segments and utt2num_samples where they exist)."""

    out: str
    """Folder to write."""

    teacher: str
    """A checkpoint of ours, or ``s3prl:NAME[:CHECKPOINT]``."""

    layer: LayerOptions
    """Which of its vectors."""

    teacher_conf: dict[str, Any] = field(default_factory=dict)
    """Changes of the teacher's configuration."""

    quantizer: str | None = None
    """Folder or published file; None = embeddings."""

    refine_indexes_iters: int = 5
    """Passes of refinement."""

    keep_best: bool | None = None
    """Keep the best codes of all passes (published: those of the last one); None = as the quantiser
    is configured."""

    code_dtype: Literal["uint8", "int16"] = "uint8"
    """On the disk; ESPnet's stock preprocessor takes no unsigned integers, our tasks do."""

    num_utts: int = 0
    """Only so many utterances; 0 = all."""

    choose: Literal["first", "random"] = "first"
    """Which of them: the first ones of the folder (published), or random ones."""

    seed: int = 0
    """Of the random choice."""

    batch_seconds: float = 100.0
    """Speech that goes through the teacher together, at most."""

    skip_bad: bool = False
    """Leave out recordings that cannot be used; False: stop."""

    policy: AudioPolicy = field(default_factory=AudioPolicy)
    """What an acceptable recording is."""

    def __post_init__(self) -> None:
        """Refuse what a slice would take as a count from the end, and other such numbers."""
        problems = []
        if self.num_utts < 0:
            problems.append(f"num_utts is {self.num_utts}; it must be at least 1, or 0 for all")
        problems += too_small(self, {"refine_indexes_iters": 0, "seed": 0})
        if not 0 < self.batch_seconds < math.inf:
            problems.append(
                f"batch_seconds is {self.batch_seconds:g}; it must be positive and finite"
            )
        if problems:
            raise ConfigError("extraction", problems)

    @property
    def kind(self) -> str:
        """What the files are called."""
        return EMBEDDINGS if self.quantizer is None else CODES

    @property
    def folder(self) -> Path:
        """Folder to write."""
        return Path(self.out)

    def load(self) -> Extractor:
        """Load teacher and quantiser.

        Raises:
            KDError: one of them cannot be loaded, or they do not fit.
        """
        layer = load_teacher_layer(self.teacher, self.layer, self.teacher_conf)
        quantizer = None if self.quantizer is None else load_quantizer(self.quantizer)
        problems = []
        if self.policy.sample_rate != layer.sample_rate:
            problems.append(f"sample_rate must be the teacher's {layer.sample_rate} Hz")
        if quantizer is not None:
            problems += self._misfits(layer, quantizer)
        if problems:
            raise ConfigError("extraction", problems)
        return Extractor(self, layer, quantizer)

    def _misfits(self, layer: TeacherLayer, quantizer: Quantizer) -> list[str]:
        config, problems = quantizer.config, []
        if config.dim != layer.width:
            problems.append(
                f"quantizer {self.quantizer} is for vectors of width {config.dim}, teacher "
                f"{self.teacher} has {layer.width}"
            )
        if config.codebook_size > np.iinfo(self.code_dtype).max + 1:
            problems.append(
                f"codes of codebook_size {config.codebook_size} do not fit {self.code_dtype}; "
                "choose int16"
            )
        return problems

    def recordings(self) -> Recordings:
        """Open the data folder.

        Raises:
            DataDirError: lists its problems.
        """
        return open_recordings(self.data, self.policy)


@dataclass
class Plan:
    """Utterances in batches, the longest first: fixed before the first one is extracted.

    Batches depend on data and options alone, so a resumed run computes what an unbroken one would.
    """

    batches: list[Batch]
    """Batches of utterances of similar length."""

    bad: dict[str, str]
    """Utterances that cannot be used, and why."""

    @property
    def samples(self) -> dict[str, int]:
        """Utterance -> samples."""
        return dict(pair for batch in self.batches for pair in batch)

    def stamp(self) -> str:
        """Tells data folders with other utterances or lengths apart."""
        digest = hashlib.sha256()
        for key, samples in sorted(self.samples.items()):
            digest.update(f"{key} {samples}\n".encode())
        return digest.hexdigest()[:16]


def make_plan(job: ExtractionJob, shortest: int) -> Plan:
    """Count the samples of all utterances and divide them into batches.

    Args:
        job: what is wanted.
        shortest: samples of the teacher's first frame.

    Raises:
        DataDirError: recordings that cannot be used, unless they may be left out; or none is left.
    """
    recordings = job.recordings()
    chosen = _chosen(recordings.utterances, job)
    recordings.utterances = chosen
    samples, bad = count_samples(recordings)
    for key in [key for key, count in samples.items() if count < shortest]:
        bad[key] = (
            f"utterance {key} has {samples.pop(key)} samples; {shortest} give the teacher's first "
            "frame; leave it out (--skip_bad true)"
        )
    if bad and (not job.skip_bad or not samples):
        listing = "".join(f"\n  {reason}" for reason in list(bad.values())[:20])
        raise DataDirError(f"{job.data}: {len(bad)} recording(s) cannot be used{listing}")
    keys, lengths = list(samples), list(samples.values())
    most = max(1, round(job.batch_seconds * job.policy.sample_rate))
    limits = LengthLimits(shortest=1, longest=max(lengths), per_batch=most, crop_longer=False)
    batches = [[(keys[i], lengths[i]) for i in batch] for batch in fill_batches(lengths, limits)]
    return Plan(batches[::-1], bad)  # a batch that does not fit into memory shows at once


def _chosen(utterances: Sequence[str], job: ExtractionJob) -> list[str]:
    if not 0 < job.num_utts < len(utterances):
        return list(utterances)
    if job.choose == "first":
        return list(utterances[: job.num_utts])
    order = np.random.default_rng(job.seed).permutation(len(utterances))[: job.num_utts]
    return [utterances[i] for i in sorted(order)]


class Extractor:
    """Teacher and quantiser of a job."""

    def __init__(
        self, job: ExtractionJob, layer: TeacherLayer, quantizer: Quantizer | None
    ) -> None:
        self.job = job
        self.layer = layer
        self.quantizer = quantizer
        self.device = "cpu"

    def to(self, device: str) -> Extractor:
        """Move both and return the same object."""
        self.device = device
        self.layer.to(device)
        if self.quantizer is not None:
            self.quantizer.to(device)
        return self

    def identity(self, plan: Plan) -> dict[str, Any]:
        """What the results depend on; no paths, as contents count."""
        job = self.job
        values: dict[str, Any] = {
            "kind": job.kind,
            "teacher.weights": self.layer.stamp(),
            "teacher_conf": job.teacher_conf,
            **dataclasses.asdict(job.layer),
            "data.utterances": len(plan.samples),
            "data.stamp": plan.stamp(),
        }
        if job.layer.normalize == "batch":
            values["batch_seconds"] = job.batch_seconds
        if self.quantizer is not None:
            values |= {
                "quantizer.id": self.quantizer.id,
                "quantizer.weights": stamp_of_model(self.quantizer),
                "refine_indexes_iters": job.refine_indexes_iters,
                "keep_best": self.quantizer.config.keep_best
                if job.keep_best is None
                else job.keep_best,
                "code_dtype": job.code_dtype,
            }
        stored: dict[str, Any] = json.loads(json.dumps(values))
        return stored

    def arrays(self, waves: Mapping[str, Wave]) -> dict[str, Array]:
        """The codes (T, N) or vectors (T, D) of utterances (S,) that are one batch.

        Raises:
            KDError: a vector is not finite (the utterance is named), or memory does not suffice.
        """
        try:
            vectors = self.layer.vectors([torch.from_numpy(wave_S) for wave_S in waves.values()])
            named = dict(zip(waves, vectors, strict=True))
            for key, x_TD in named.items():
                if not bool(torch.isfinite(x_TD).all()):
                    raise KDError(
                        f"utterance {key}: teacher {self.layer.name} gives NaN or infinity; try "
                        "--dtype float32, or leave the utterance out"
                    )
            return self._codes(named) if self.quantizer is not None else _on_cpu(named)
        except torch.OutOfMemoryError as error:
            first, seconds = next(iter(waves)), sum(map(len, waves.values())) / 16000
            raise KDError(
                f"the batch of utterance {first} ({len(waves)} utterances, {seconds:.0f} s) does "
                f"not fit into the GPU's memory; lower --batch_seconds and go on "
                f"({str(error).splitlines()[0]})"
            ) from None

    def _codes(self, vectors: Mapping[str, torch.Tensor]) -> dict[str, Array]:
        assert self.quantizer is not None
        codes = self.quantizer.encode(
            torch.cat(list(vectors.values())),
            self.job.refine_indexes_iters,
            as_bytes=False,
            keep_best=self.job.keep_best,
        )
        parts = codes.cpu().numpy().astype(self.job.code_dtype)
        ends = np.cumsum([len(x_TD) for x_TD in vectors.values()])[:-1]
        return dict(zip(vectors, np.split(parts, ends), strict=True))


def _on_cpu(vectors: Mapping[str, torch.Tensor]) -> dict[str, Array]:
    return {key: x_TD.cpu().numpy() for key, x_TD in vectors.items()}


def read_wave(recordings: Recordings, utterance: str, samples: int) -> Wave:
    """Samples (S,) of an utterance that was counted before.

    Raises:
        AudioError: it cannot be used, or has another length by now.
    """
    wave_S = recordings.wave(utterance)
    if len(wave_S) != samples:
        raise AudioError(
            f"utterance {utterance}: has {len(wave_S)} samples, {samples} were counted; count "
            "utt2num_samples anew (python -m espnet_kd.bin.check_data), or leave it out"
        )
    return wave_S
