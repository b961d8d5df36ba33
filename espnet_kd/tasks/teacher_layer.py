"""One layer of a frozen teacher: waveforms in, its vectors for each utterance out.

Beyond rounding, an utterance's vectors do not depend on its batch: it is normalised over its own
samples, goes through the convolutions alone (their GroupNorm runs over time) and is padded only
before the layers, which mask padding. The published extraction normalises a whole padded batch;
``normalize: batch`` does so.

Shapes: B batch, S samples, T frames, D width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from espnet_kd.data.codes_info import FrameRule
from espnet_kd.encoder import FrameFeatures, SpeechEncoder
from espnet_kd.encoder.padding import chunked_lengths, normalize_waveform, padding_mask
from espnet_kd.errors import ConfigError, KDError
from espnet_kd.tasks.s3prl_teacher import S3PRLTeacher
from espnet_kd.tasks.teacher import EncoderTeacher, Teacher, Wish, load_teacher
from espnet_kd.utils.stamps import stamp_of_model

_SHORT, _LONG = 16000, 48000
"""Samples by which an upstream's frame rate is found."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, kw_only=True)
class LayerOptions:
    """Which vectors of a teacher."""

    layer: int
    """From 1 (icefall's ``embedding_layer``): the output of this Transformer layer as the next one
    gets it, hence without the encoder's final LayerNorm where that follows all layers."""

    normalize: Literal["utterance", "batch"] = "utterance"
    """Over what a teacher that normalises waveforms does so: each utterance's own samples, or all
    of a padded batch (published: results then depend on the batch)."""

    frames: Literal["teacher", "published"] = "teacher"
    """How many frames are kept: those that the teacher's convolutions give, or samples // hop
    (published: mostly one more, which hears up to 5 ms of zeros behind the end)."""

    dtype: str = "float32"
    """Of the teacher's computations: float32 or bfloat16; vectors are float32."""

    def validate(self, num_layers: int) -> list[str]:
        """All problems, each a sentence."""
        problems = []
        if not 1 <= self.layer <= num_layers:
            problems.append(f"layer is {self.layer}; this teacher has layers 1 to {num_layers}")
        for name, allowed in (
            ("normalize", ("utterance", "batch")),
            ("frames", ("teacher", "published")),
            ("dtype", tuple(DTYPES)),
        ):
            if getattr(self, name) not in allowed:
                problems.append(f"{name} is {getattr(self, name)!r}; it must be one of {allowed}")
        return problems


class TeacherLayer(ABC):
    """Vectors of one layer."""

    name: str
    """Of the teacher."""

    width: int
    """D."""

    rule: FrameRule
    """Frames of so many samples."""

    sample_rate: int = 16000
    """That the teacher expects, in Hz."""

    @abstractmethod
    def to(self, device: str) -> TeacherLayer:
        """Move the teacher and return the same object."""

    @abstractmethod
    def stamp(self) -> str:
        """Tells teachers with other weights apart."""

    @abstractmethod
    def vectors(self, waves: Sequence[Tensor]) -> list[Tensor]:
        """Waveforms (S,) to float32 vectors (T, D), each with the frames that are kept."""


class EncoderLayer(TeacherLayer):
    """A layer of one of our encoders.

    Raises:
        ConfigError: options that do not fit the teacher; all are listed.
    """

    def __init__(self, teacher: EncoderTeacher, options: LayerOptions) -> None:
        encoder = teacher.encoder
        self.name, self.width = teacher.name, encoder.config.embed_dim
        self.options = options
        self.normalizes = encoder.config.normalize_waveform
        problems = options.validate(encoder.config.num_layers)
        if options.normalize == "batch" and not self.normalizes:
            problems.append(
                "normalize is batch, but this teacher hears waveforms as they are; leave it out"
            )
        if problems:
            raise ConfigError(f"teacher {teacher.name}", problems)
        hop, window = encoder.hop, encoder.min_samples
        published = options.frames == "published"
        # In a padded batch the longest utterance has no zeros behind it.
        short = int(published and options.normalize == "batch")
        self.rule = FrameRule(hop=hop, window=hop if published else window, tolerance=short)
        self.sample_rate = encoder.config.sample_rate
        self._window = window
        self._stamp = stamp_of_model(encoder)
        encoder.config = encoder.config.replace(normalize_waveform=False)  # done here
        self.encoder: SpeechEncoder = encoder.to(DTYPES[options.dtype])

    def to(self, device: str) -> EncoderLayer:
        """Move the encoder."""
        self.encoder.to(device)
        return self

    def stamp(self) -> str:
        """Of the weights as they were loaded."""
        return self._stamp

    @torch.no_grad()
    def vectors(self, waves: Sequence[Tensor]) -> list[Tensor]:
        """Waveforms (S,) on any device to vectors (T, D) on the encoder's."""
        device = next(self.encoder.parameters()).device
        waves = [wave_S.to(device) for wave_S in waves]
        if self.options.normalize == "batch":
            return self._encoded(*self._whole_batch(waves))
        embedded = [self._alone(wave_S) for wave_S in waves]
        if self.encoder.config.reuse_mode == "ref":  # mixes the utterances of a batch
            return [self._encoded(_joined([x_TD]), [len(x_TD)])[0] for x_TD in embedded]
        return self._encoded(_joined(embedded), [len(x_TD) for x_TD in embedded])

    def _alone(self, wave_S: Tensor) -> Tensor:
        """Features (T, D) of one utterance before the layers."""
        x_BS = wave_S.unsqueeze(0)
        if self.normalizes:
            x_BS = normalize_waveform(x_BS, None)
        frames = self.rule.frames(len(wave_S))
        needed = (frames - 1) * self.rule.hop + self._window
        x_BS = F.pad(x_BS, (0, max(0, needed - len(wave_S))))
        return self.encoder.embed(x_BS).x_BTD[0]

    def _whole_batch(self, waves: Sequence[Tensor]) -> tuple[FrameFeatures, list[int]]:
        """Features of a padded batch that is normalised as one, and the frames to keep."""
        lengths = [len(wave_S) for wave_S in waves]
        x_BS = pad_sequence(list(waves), batch_first=True)
        x_BTD = self.encoder.embed(F.layer_norm(x_BS, x_BS.shape)).x_BTD
        length = x_BTD.shape[1]
        lengths_B = torch.tensor(lengths, device=x_BS.device)
        frames_B = chunked_lengths(lengths_B, x_BS.shape[1], length)
        features = FrameFeatures(x_BTD, frames_B, padding_mask(frames_B, length))
        return features, [min(length, self.rule.frames(samples)) for samples in lengths]

    def _encoded(self, features: FrameFeatures, keep: Sequence[int]) -> list[Tensor]:
        output = self.encoder.encode(features, num_layers=self.options.layer)
        x_BTD = output.layer_outputs[-1].float()
        return [x_TD[:frames] for x_TD, frames in zip(x_BTD, keep, strict=True)]


def _joined(embedded: Sequence[Tensor]) -> FrameFeatures:
    """Features (T, D) of utterances as one padded batch."""
    x_BTD = pad_sequence(list(embedded), batch_first=True)
    frames_B = torch.tensor([len(x_TD) for x_TD in embedded], device=x_BTD.device)
    return FrameFeatures(x_BTD, frames_B, padding_mask(frames_B, x_BTD.shape[1]))


class UpstreamLayer(TeacherLayer):
    """A hidden state of an S3PRL upstream: number L is ``hidden_states[L]``, as it shows it.

    Utterances go through it one by one: what padding does inside is not known.

    Raises:
        ConfigError: options that do not fit the teacher; all are listed.
    """

    def __init__(self, teacher: S3PRLTeacher, options: LayerOptions) -> None:
        problems = options.validate(teacher.num_layers)
        for name, value in (("normalize", "batch"), ("frames", "published"), ("dtype", "bfloat16")):
            if getattr(options, name) == value:
                problems.append(
                    f"{name} is {value}; an S3PRL upstream decides that itself, leave it out"
                )
        if problems:
            raise ConfigError(f"teacher {teacher.name}", problems)
        self.name, self.width = teacher.name, teacher.width
        self.teacher, self.device = teacher, "cpu"
        teacher.layers = [options.layer - 1]
        counts = teacher.frame_counts() | {
            samples: len(self.vectors([torch.zeros(samples).uniform_(-0.1, 0.1)])[0])
            for samples in (_SHORT, _LONG)
        }
        hop = round((_LONG - _SHORT) / max(1, counts[_LONG] - counts[_SHORT]))
        self.rule = FrameRule.of_counts(counts, hop)

    def to(self, device: str) -> UpstreamLayer:
        """Remember the device; the upstream follows its input."""
        self.device = device
        return self

    def stamp(self) -> str:
        """Of the upstream's weights."""
        return stamp_of_model(self.teacher.upstream)

    def vectors(self, waves: Sequence[Tensor]) -> list[Tensor]:
        """Waveforms (S,) to vectors (T, D) on the upstream's device."""
        return [self._one(wave_S.to(self.device)) for wave_S in waves]

    def _one(self, wave_S: Tensor) -> Tensor:
        lengths_B = torch.tensor([len(wave_S)])
        view, _ = self.teacher.observe(wave_S[None], lengths_B).views(Wish(whole=True), None)
        assert view is not None
        return view.layers[0][0].float()


def load_teacher_layer(
    source: str, options: LayerOptions, conf: Mapping[str, Any] | None = None
) -> TeacherLayer:
    """Load a teacher and choose a layer.

    Args:
        source: as for :func:`espnet_kd.tasks.teacher.load_teacher`.
        options: which vectors.
        conf: as for :func:`espnet_kd.tasks.teacher.load_teacher`.

    Raises:
        KDError: it cannot be loaded.
        ConfigError: options that do not fit it.
    """
    return teacher_layer(load_teacher(source, conf or {}), options)


def teacher_layer(teacher: Teacher, options: LayerOptions) -> TeacherLayer:
    """A layer of a loaded teacher, which is not to be used otherwise any more."""
    if isinstance(teacher, EncoderTeacher):
        return EncoderLayer(teacher, options)
    if isinstance(teacher, S3PRLTeacher):
        return UpstreamLayer(teacher, options)
    raise KDError(f"teacher {teacher.name} shows no layers to extract")
