"""The one speech encoder: waveform -> features -> frames -> Transformer layers -> hidden states.

Shapes: B utterances, S samples, T frames, D width, N layers.
"""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor, nn

from espnet_kd.encoder import padding, parts
from espnet_kd.encoder.checks import check_batch
from espnet_kd.encoder.config import SpeechEncoderConfig
from espnet_kd.encoder.dropout import Dropout
from espnet_kd.encoder.factory import EncoderFactory
from espnet_kd.encoder.gradient import depth_factor, scale_gradient
from espnet_kd.encoder.layer import (
    AttentionContext,
    TimeReduction,
    TransformerLayer,
    restore_frames,
)
from espnet_kd.encoder.output import EncoderOutput, FrameFeatures
from espnet_kd.errors import KDError
from espnet_kd.utils.model_directory import read_model, write_model
from espnet_kd.utils.options import problems_of


class SpeechEncoder(nn.Module):
    """Teacher and student alike; what they are is in ``config``.

    A batch is zero-padded waveforms (B, S) and, unless all are equally long, their lengths.
    """

    def __init__(self, config: SpeechEncoderConfig) -> None:
        super().__init__()
        self.config = config
        factory = EncoderFactory(config)
        self.feature_extractor = factory.create_feature_extractor()
        self.feature_projection = factory.create_feature_projection()
        self.mask_embedding = factory.create_mask_embedding()
        self.pos_conv = factory.create_positional_conv()
        self.encoder_norm = factory.create_encoder_norm()
        self.position_bias = factory.create_position_bias()
        self.layers = factory.create_layers()
        self.time_reductions = factory.create_time_reductions()
        self.heads = factory.create_heads()
        self.dropout = Dropout(config.dropout)

    @classmethod
    def from_config(cls, config: SpeechEncoderConfig) -> SpeechEncoder:
        """A randomly initialised encoder (published initialisation, spec armhubert.md 5)."""
        return cls(config)

    @classmethod
    def from_pretrained(cls, path: str | os.PathLike[str], **overrides: Any) -> SpeechEncoder:
        """Load a native directory (`config.json` + `model.safetensors`) in eval mode.

        Raises:
            CheckpointError: files missing, damaged or of another model; all wrong keys are listed.
        """
        from espnet_kd.encoder.build import build_encoder

        values, state = read_model(path)
        with problems_of(f"{path}/config.json"):
            config = SpeechEncoderConfig.from_dict(values)
        return build_encoder(config, state, str(path), overrides)

    def save_pretrained(self, path: str | os.PathLike[str]) -> None:
        """Write `config.json` and `model.safetensors` into directory ``path``, atomically."""
        write_model(path, self.config.to_dict(), self.state_dict())

    # --- Sizes
    @property
    def hop(self) -> int:
        """Samples per frame."""
        return self.config.hop

    @property
    def min_samples(self) -> int:
        """Fewest samples that give one frame."""
        return self.config.receptive_field

    @property
    def output_dim(self) -> int:
        """Width of the entries of `hidden_states`."""
        return self.config.output_dim

    def frame_lengths(self, lengths_B: Tensor) -> Tensor:
        """(B,) samples -> (B,) frames, by the convolutions' length formula."""
        return padding.conv_lengths(lengths_B, self.config.conv_layers)

    def frame_count(self, samples: int) -> int:
        """Frames of one waveform of ``samples`` samples."""
        return int(self.frame_lengths(torch.tensor([samples]))[0])

    # --- Forward
    def forward(
        self,
        x_BS: Tensor,
        lengths_B: Tensor | None = None,
        mask_BT: Tensor | None = None,
        *,
        num_layers: int | None = None,
        return_attention_maps: bool = False,
    ) -> EncoderOutput:
        """Encode a batch of waveforms.

        Args:
            x_BS: (B, S) zero-padded float waveforms at ``config.sample_rate``, mono.
            lengths_B: (B,) valid samples; None if all of them are.
            mask_BT: (B, T) frames to replace by the mask embedding, True = masked.
            num_layers: stop after this many layers; None runs all.
            return_attention_maps: also return the maps of layers that compute one.

        Raises:
            AudioError: a waveform is too short for one frame or the batch has a wrong shape.
        """
        frames = self.embed(x_BS, lengths_B)
        return self.encode(
            frames, mask_BT, num_layers=num_layers, return_attention_maps=return_attention_maps
        )

    def embed(self, x_BS: Tensor, lengths_B: Tensor | None = None) -> FrameFeatures:
        """Front end and projection, (B, S) -> (B, T, D): once, where several passes share audio."""
        check_batch(x_BS, lengths_B, self.min_samples)
        if self.config.normalize_waveform:
            x_BS = padding.normalize_waveform(x_BS, lengths_B)
        x_BS = x_BS.to(self.encoder_norm.weight.dtype)  # bfloat16 models take float32 waveforms
        x_BTD = self.feature_projection(self.feature_extractor(x_BS))
        if lengths_B is None:
            return FrameFeatures(x_BTD)
        frames_B = self._valid_frames(lengths_B, x_BS.size(1), x_BTD.size(1))
        return FrameFeatures(x_BTD, frames_B, padding.padding_mask(frames_B, x_BTD.size(1)))

    def encode(
        self,
        frames: FrameFeatures,
        mask_BT: Tensor | None = None,
        *,
        num_layers: int | None = None,
        return_attention_maps: bool = False,
    ) -> EncoderOutput:
        """Transformer over embedded frames; arguments as in :meth:`forward`."""
        depth = self._checked_depth(num_layers)
        size = parts.part_size(self.config, frames, return_attention_maps)
        if size < frames.x_BTD.size(0):
            split = parts.split(frames, mask_BT, size)
            outputs = (self._encode(*part, depth, return_attention_maps) for part in split)
            output = parts.join(frames, outputs)
        else:
            output = self._encode(frames, mask_BT, depth, return_attention_maps)
        output.hidden_states = self._hidden_states(output, complete=depth == len(self.layers))
        return output

    def _encode(
        self, frames: FrameFeatures, mask_BT: Tensor | None, depth: int, maps: bool
    ) -> EncoderOutput:
        features_BTD = self._features(frames, mask_BT)
        x_BTD = self._layer_input(features_BTD)
        context = AttentionContext(
            frames.padding_BT, self._bias(x_BTD.size(1)), self.config.reuse_mode
        )
        output = EncoderOutput([], frames.lengths_B, frames.padding_BT)
        output.features, output.layer_input = features_BTD, x_BTD
        output.projections = None if self.heads is None else []
        output.attention_maps = [] if maps else None
        self._run_layers(x_BTD, context, depth, output)
        return output

    def _run_layers(
        self, x_BTD: Tensor, context: AttentionContext, depth: int, output: EncoderOutput
    ) -> None:
        frames, merged = x_BTD.size(1), 1
        need_map = output.attention_maps is not None
        for index, layer in enumerate(self.layers[:depth]):
            if str(index) in self.time_reductions:
                x_BTD, context = self._reduce_time(index, x_BTD, context)
                merged *= self.config.layers[index].time_reduction
            map_BHTT = None
            if not self._drops(layer):
                x_BTD, map_BHTT = layer(x_BTD, context, need_map)
            x_BTD = self._collect(index, x_BTD, merged, frames, output)
            if output.attention_maps is not None:
                output.attention_maps.append(map_BHTT)

    def _collect(
        self, index: int, x_BTD: Tensor, merged: int, frames: int, output: EncoderOutput
    ) -> Tensor:
        """Record a layer's output and projection; the returned tensor goes on to the next layer."""
        factor = depth_factor(index, len(self.layers)) if self.config.layer_grad_scale else 1.0
        x_BTD = scale_gradient(x_BTD, factor)
        full_BTD = restore_frames(x_BTD, merged, frames)
        output.layer_outputs.append(full_BTD)
        if output.projections is not None and self.heads is not None:
            share = 1.0 - factor if self.config.layer_grad_scale else 1.0
            output.projections.append(self.heads.project(index, scale_gradient(full_BTD, share)))
        return x_BTD

    def _features(self, frames: FrameFeatures, mask_BT: Tensor | None) -> Tensor:
        x_BTD = frames.x_BTD
        if mask_BT is not None:
            x_BTD = self._mask_frames(x_BTD, mask_BT)
        if frames.padding_BT is not None:
            x_BTD = x_BTD.masked_fill(frames.padding_BT[..., None], 0.0)
        return x_BTD

    def _layer_input(self, x_BTD: Tensor) -> Tensor:
        x_BTD = x_BTD + self.pos_conv(x_BTD)
        if not self.config.norm_first:
            x_BTD = self.encoder_norm(x_BTD)
        dropped: Tensor = self.dropout(x_BTD)
        return dropped

    def _mask_frames(self, x_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        if self.mask_embedding is None:
            raise KDError(
                "this encoder has no mask embedding; build it with mask_embedding: true to "
                "mask frames"
            )
        if mask_BT.dtype != torch.bool:
            raise KDError(f"the mask must be boolean (True = masked), not {mask_BT.dtype}")
        if mask_BT.shape != x_BTD.shape[:2]:
            raise KDError(
                f"mask has shape {tuple(mask_BT.shape)} but the batch has frames "
                f"{tuple(x_BTD.shape[:2])}"
            )
        return torch.where(mask_BT[..., None], self.mask_embedding.to(x_BTD.dtype), x_BTD)

    def _hidden_states(self, output: EncoderOutput, complete: bool) -> list[Tensor]:
        if self.config.hidden_states == "heads":
            assert output.projections is not None
            return list(output.projections)
        if self.config.hidden_states == "layers":
            return list(output.layer_outputs)
        if self.config.hidden_states == "features":
            assert output.features is not None
            return [output.features, *output.layer_outputs]
        assert output.layer_input is not None
        states = [output.layer_input, *output.layer_outputs]
        if self.config.norm_first and complete:
            states[-1] = self.encoder_norm(states[-1])
        return states

    def _reduce_time(
        self, index: int, x_BTD: Tensor, context: AttentionContext
    ) -> tuple[Tensor, AttentionContext]:
        reduction = self.time_reductions[str(index)]
        assert isinstance(reduction, TimeReduction)
        x_BTD = reduction(x_BTD)
        padding_BT = reduction.reduce_padding(context.padding_BT)
        return x_BTD, AttentionContext(padding_BT, self._bias(x_BTD.size(1)), context.reuse_mode)

    def _bias(self, num_frames: int) -> Tensor | None:
        return None if self.position_bias is None else self.position_bias(num_frames)

    def _checked_depth(self, num_layers: int | None) -> int:
        if num_layers is None:
            return len(self.layers)
        if not 1 <= num_layers <= len(self.layers):
            raise KDError(f"num_layers is {num_layers}; this encoder has 1 to {len(self.layers)}")
        return num_layers

    def _drops(self, layer: nn.Module) -> bool:
        """LayerDrop; a layer whose map others need always runs."""
        if not self.training or self.config.layerdrop == 0.0:
            return False
        assert isinstance(layer, TransformerLayer)
        return not layer.offers_map and float(torch.rand(())) < self.config.layerdrop

    def _valid_frames(self, lengths_B: Tensor, samples: int, frames: int) -> Tensor:
        if self.config.frame_padding == "chunked":
            return padding.chunked_lengths(lengths_B, samples, frames)
        return self.frame_lengths(lengths_B)
