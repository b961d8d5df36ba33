"""The frozen teacher: one of our encoders, or any S3PRL upstream by name.

A teacher is a plain object, not a module: it appears in no checkpoint, no optimiser and no
distributed wrapper, and ``model.train()`` does not reach it.

Shapes: B batch, S samples, T frames, D width, H heads, N layers, K keys (= T).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from espnet_kd.encoder import FrameFeatures, SpeechEncoder
from espnet_kd.errors import KDError

if TYPE_CHECKING:
    from espnet_kd.encoder import EncoderOutput

S3PRL_PREFIX = "s3prl:"

PROBES = (16000, 16079, 16080, 16320, 16399, 16400)
"""Sample counts by which two front ends are compared (50 frames per second, 400 samples of
context)."""


@dataclass(frozen=True)
class View:
    """What the teacher makes of a batch in one way of looking at it (masked or whole)."""

    layers: list[Tensor]
    """Outputs (B, T, D) of the layers that are used, in the student's order."""

    layer_input: Tensor | None
    """(B, T, D): the input of the first layer."""

    attention_maps: list[Tensor | None] | None
    """(B, H, T, K) of the same layers, if asked for."""

    features: Tensor | None = None
    """(B, T, D): projected features before the positional convolution; None for S3PRL upstreams."""


@dataclass(frozen=True)
class Wish:
    """What the objectives of a run want to see of the teacher."""

    whole: bool = False
    """The view of the whole input."""

    masked: bool = False
    """The view of the masked input."""

    attention: bool = False
    """Attention maps too."""


class Observation(ABC):
    """One batch, after the teacher's convolutions and before its layers."""

    lengths_B: Tensor
    """(B,) valid frames, by the teacher's own convention."""

    num_frames: int
    """T."""

    @abstractmethod
    def views(self, wish: Wish, mask_BT: Tensor | None) -> tuple[View | None, View | None]:
        """The view of the whole and of the masked input, as far as they are wished for."""


class Teacher(ABC):
    """A frozen model that shows the outputs of its layers."""

    name: str
    num_layers: int
    width: int
    can_mask: bool
    shows_features: bool = False

    layers: list[int]
    """Indexes of the layers that are used (from 0), in the student's order."""

    @abstractmethod
    def frame_counts(self) -> dict[int, int]:
        """Samples -> frames, for a few durations that tell the frame rate and the kernels."""

    @abstractmethod
    def observe(self, speech_BS: Tensor, lengths_B: Tensor) -> Observation:
        """Run the part that both views share; moves the teacher to the speech's device and type."""

    def copy_mask_embedding(self, source_D: Tensor) -> None:
        """Take over the student's vector for masked frames."""
        raise KDError(
            f"teacher {self.name} has no mask embedding to update; drop update_teacher_mask"
        )


class EncoderTeacher(Teacher):
    """One of our encoders. Both views share the convolutions and go through the layers as one
    batch.
    """

    def __init__(self, name: str, encoder: SpeechEncoder) -> None:
        self.name = name
        self.encoder = encoder.eval().requires_grad_(False)
        self.num_layers = encoder.config.num_layers
        self.width = encoder.config.embed_dim
        self.can_mask = encoder.config.mask_embedding
        self.shows_features = True
        self.layers = list(range(self.num_layers))

    def frame_counts(self) -> dict[int, int]:
        """Samples -> frames, by the formula of the convolutions."""
        return {samples: self.encoder.frame_count(samples) for samples in PROBES}

    @torch.no_grad()
    def observe(self, speech_BS: Tensor, lengths_B: Tensor) -> Observation:
        """Run the convolutional front end."""
        sample = next(self.encoder.parameters())
        if sample.device != speech_BS.device or sample.dtype != speech_BS.dtype:
            self.encoder.to(speech_BS)
        return _EncoderObservation(self, self.encoder.embed(speech_BS, lengths_B))

    @torch.no_grad()
    def copy_mask_embedding(self, source_D: Tensor) -> None:
        """Take over the student's vector for masked frames."""
        own_D = self.encoder.mask_embedding
        if own_D is None or own_D.shape != source_D.shape:
            raise KDError(
                f"update_teacher_mask: teacher {self.name} has width {self.width}, the student "
                f"{source_D.numel()}; equal widths are needed, or leave the option out"
            )
        own_D.copy_(source_D)


class _EncoderObservation(Observation):
    def __init__(self, teacher: EncoderTeacher, frames: FrameFeatures) -> None:
        self.teacher = teacher
        self.frames = frames
        assert frames.lengths_B is not None  # embedded with lengths
        self.lengths_B = frames.lengths_B
        self.num_frames = frames.x_BTD.shape[1]

    @torch.no_grad()
    def views(self, wish: Wish, mask_BT: Tensor | None) -> tuple[View | None, View | None]:
        if not (wish.whole or wish.masked):
            return None, None
        both = wish.whole and wish.masked
        frames = self.frames
        if both:
            assert mask_BT is not None
            frames = frames.repeat(2)
            mask_BT = torch.cat([torch.zeros_like(mask_BT), mask_BT])
        output = self.teacher.encoder.encode(
            frames,
            mask_BT if wish.masked else None,
            num_layers=max(self.teacher.layers) + 1,
            return_attention_maps=wish.attention,
        )
        if not both:
            view = _view(output, self.teacher.layers)
            return (view, None) if wish.whole else (None, view)
        size = self.frames.x_BTD.shape[0]
        return (
            _view(output, self.teacher.layers, slice(0, size)),
            _view(output, self.teacher.layers, slice(size, None)),
        )


def _view(output: EncoderOutput, layers: list[int], rows: slice = slice(None)) -> View:
    chosen: list[Tensor | None] | None = None
    if output.attention_maps is not None:
        maps = [output.attention_maps[i] for i in layers]
        chosen = [None if map_BHTK is None else map_BHTK[rows] for map_BHTK in maps]
    assert output.layer_input is not None
    assert output.features is not None
    return View(
        layers=[output.layer_outputs[i][rows] for i in layers],
        layer_input=output.layer_input[rows],
        features=output.features[rows],
        attention_maps=chosen,
    )


def load_teacher(source: str, conf: Mapping[str, Any]) -> Teacher:
    """Load a teacher.

    Args:
        source: any checkpoint of ours (a folder or file), or ``s3prl:NAME`` /
            ``s3prl:NAME:CHECKPOINT``.
        conf: overrides of the encoder's configuration (``normalize_waveform``, ``frame_padding``
            ...);
            for an S3PRL upstream the keyword arguments of its hub entry.
    """
    if source.startswith(S3PRL_PREFIX):
        from espnet_kd.tasks.s3prl_teacher import load_s3prl_teacher

        return load_s3prl_teacher(source.removeprefix(S3PRL_PREFIX), conf)
    from espnet_kd.checkpoints import load_model

    return EncoderTeacher(source, load_model(source, **conf))
