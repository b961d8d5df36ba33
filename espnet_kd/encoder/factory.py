"""From configuration to modules, one method per part: from top to bottom, the architecture."""

from __future__ import annotations

import torch
from torch import nn

from espnet_kd.encoder.attention import FullAttention, ReusedAttention
from espnet_kd.encoder.config import LayerConfig, SpeechEncoderConfig
from espnet_kd.encoder.extractor import (
    ChannelLayerNorm,
    ConvBlock,
    ExactFeatureProjection,
    FeatureExtractor,
    FeatureProjection,
)
from espnet_kd.encoder.heads import ProjectionHeads
from espnet_kd.encoder.layer import FeedForward, TimeReduction, TransformerLayer
from espnet_kd.encoder.positions import PositionalConv, PositionGate, RelativePositionBias


class EncoderFactory:
    """Builds the parts of a :class:`SpeechEncoder`, initialised as published."""

    def __init__(self, config: SpeechEncoderConfig) -> None:
        self.config = config

    def create_feature_extractor(self) -> FeatureExtractor:
        """Waveform -> features: convolutions, Kaiming initialised."""
        blocks, channels = [], 1
        for index, (width, kernel, stride) in enumerate(self.config.conv_layers):
            conv = nn.Conv1d(channels, width, kernel, stride, bias=self.config.conv_bias)
            nn.init.kaiming_normal_(conv.weight)
            blocks.append(ConvBlock(conv, self._conv_norm(index, width)))
            channels = width
        scale = torch.ones(channels) if self.config.channel_scale else None
        return FeatureExtractor(blocks, self.config.feature_grad_mult, scale)

    def _conv_norm(self, index: int, width: int) -> nn.Module | None:
        if self.config.extractor_norm == "layer_norm":
            return ChannelLayerNorm(width, eps=self.config.layer_norm_eps)
        return nn.GroupNorm(width, width, eps=self.config.layer_norm_eps) if index == 0 else None

    def create_feature_projection(self) -> FeatureProjection:
        """Features -> frames of the Transformer's width."""
        channels = self.config.conv_dim
        norm = self._layer_norm(channels) if self.config.feature_layer_norm else None
        linear = (
            nn.Linear(channels, self.config.embed_dim) if self.config.feature_projection else None
        )
        if self.config.feature_norm_channels:
            assert norm is not None  # the configuration was validated
            assert linear is not None
            return ExactFeatureProjection(
                norm, linear, self.config.dropout_input, self.config.feature_norm_channels
            )
        return FeatureProjection(norm, linear, self.config.dropout_input)

    def create_mask_embedding(self) -> nn.Parameter | None:
        """The vector that stands for masked frames."""
        return (
            nn.Parameter(torch.rand(self.config.embed_dim)) if self.config.mask_embedding else None
        )

    def create_positional_conv(self) -> PositionalConv:
        """Convolutional position embedding."""
        return PositionalConv(
            self.config.embed_dim, self.config.pos_conv_kernel, self.config.pos_conv_groups
        )

    def create_position_bias(self) -> RelativePositionBias | None:
        """WavLM's relative position bias, shared by all layers."""
        if not self.config.num_buckets:
            return None
        bias = RelativePositionBias(
            self.config.num_buckets, self.config.max_distance, self.config.bias_heads
        )
        nn.init.normal_(bias.embedding.weight, std=0.02)
        return bias

    def create_encoder_norm(self) -> nn.LayerNorm:
        """Before the first layer (post-norm models) or after the last (pre-norm models)."""
        return self._layer_norm(self.config.embed_dim)

    def create_layers(self) -> nn.ModuleList:
        """The Transformer layers, by their records."""
        return nn.ModuleList(
            self._layer(index, record) for index, record in enumerate(self.config.layers)
        )

    def create_time_reductions(self) -> nn.ModuleDict:
        """Frame-merging convolutions, by the index of the layer that they precede."""
        return nn.ModuleDict(
            {
                str(index): TimeReduction(
                    self.config.embed_dim, record.time_reduction_kernel, record.time_reduction
                )
                for index, record in enumerate(self.config.layers)
                if record.time_reduction > 1
            }
        )

    def create_heads(self) -> ProjectionHeads | None:
        """Projection heads towards the teacher's width."""
        config = self.config
        return (
            ProjectionHeads(config.num_layers, config.embed_dim, config.head_dim)
            if config.head_dim
            else None
        )

    def _layer(self, index: int, record: LayerConfig) -> TransformerLayer:
        config = self.config
        layer = TransformerLayer(
            self._attention(record),
            self._feed_forward(record),
            (self._layer_norm(config.embed_dim), self._layer_norm(config.embed_dim)),
            config.dropout,
            config.norm_first,
            offers_map=self._is_reused(index),
        )
        layer.apply(_init_linear)
        return layer

    def _attention(self, record: LayerConfig) -> FullAttention | ReusedAttention | None:
        width = self.config.embed_dim
        if record.attention == "none":
            return None
        if record.attention == "reused":
            return ReusedAttention(width, record.num_heads, record.head_dim)
        gate = (
            PositionGate(width, self.config.bias_heads, record.kept_heads)
            if self.config.num_buckets
            else None
        )
        return FullAttention(
            width, record.num_heads, record.head_dim, self.config.attention_dropout, gate
        )

    def _feed_forward(self, record: LayerConfig) -> FeedForward | None:
        if not record.ffn_dim:
            return None
        config = self.config
        return FeedForward(
            config.embed_dim, record.ffn_dim, config.activation, config.activation_dropout
        )

    def _is_reused(self, index: int) -> bool:
        """Whether the map of a layer is used again before another layer computes one."""
        if self.config.layers[index].attention != "full":
            return False
        for record in self.config.layers[index + 1 :]:
            if record.attention == "reused":
                return True
            if record.attention == "full":
                return False
        return False

    def _layer_norm(self, width: int) -> nn.LayerNorm:
        return nn.LayerNorm(width, eps=self.config.layer_norm_eps)


def _init_linear(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
