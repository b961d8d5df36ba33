"""Configuration of the one speech encoder: a front end, a list of layer records, optional heads.

HuBERT, wav2vec 2.0, WavLM and every student made of them differ in this data and in nothing else.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from espnet_kd.errors import ConfigError
from espnet_kd.utils.options import from_mapping

ATTENTION_KINDS = ("full", "reused", "none")
EXTRACTOR_NORMS = ("group_norm", "layer_norm")
REUSE_MODES = ("fixed", "ref", "single")
FRAME_PADDINGS = ("conv", "chunked")
HIDDEN_STATES = ("heads", "layers", "transformers", "features")
ACTIVATIONS = ("gelu", "relu", "silu")

HUBERT_CONV_LAYERS = [[512, 10, 5]] + [[512, 3, 2]] * 4 + [[512, 2, 2]] * 2


@dataclass(kw_only=True)
class LayerConfig:
    """One Transformer layer; a pruned or attention-reusing layer is only another record."""

    attention: str = "full"
    """`full` computes its map, `reused` takes that of the last full layer, `none` has neither."""

    num_heads: int = 12
    """Attention heads of this layer (HuBERT Base: 12)."""

    head_dim: int = 64
    """Width of one head; after pruning, heads x width may differ from D (HuBERT Base: 64)."""

    ffn_dim: int = 3072
    """Intermediate units of the feed-forward block, 0 for none (HuBERT Base: 3072)."""

    kept_heads: list[int] | None = None
    """Heads that pruning left, as indexes into WavLM's position bias; null means all."""

    time_reduction: int = 1
    """Frames that a strided convolution merges into one before this layer (published: 1)."""

    time_reduction_kernel: int = 2
    """Kernel of that convolution (FitHuBERT: 2)."""

    @property
    def attention_dim(self) -> int:
        """Width of the concatenated heads."""
        return self.num_heads * self.head_dim


@dataclass(kw_only=True)
class SpeechEncoderConfig:
    """Everything that decides the shape and the arithmetic of a :class:`SpeechEncoder`."""

    # --- Origin
    family: str = "hubert"
    """Free name of the model family, for people and reports; the network never reads it."""

    sample_rate: int = 16000
    """Samples per second of the waveform (all published models: 16000)."""

    normalize_waveform: bool = False
    """Bring each waveform to mean 0 and variance 1 over its own samples (Large: yes)."""

    # --- Convolutional front end
    conv_layers: list[list[int]] = field(
        default_factory=lambda: [list(c) for c in HUBERT_CONV_LAYERS]
    )
    """[channels, kernel, stride] of each convolution (HuBERT: seven, stride 320 in all)."""

    extractor_norm: str = "group_norm"
    """`group_norm` after the first convolution only (Base) or `layer_norm` after each (Large)."""

    conv_bias: bool = False
    """Whether the convolutions have a bias (HuBERT: no, wav2vec 2.0 LV-60: yes)."""

    channel_scale: bool = False
    """One factor per channel of the last convolution, not trained: what soft gates leave behind
    (DPHuBERT: yes, ones before pruning)."""

    feature_grad_mult: float = 1.0
    """Factor on the front end's gradient; 0 or less freezes it (ARMHuBERT: 1.0)."""

    # --- From features to frames
    embed_dim: int = 768
    """Width D of the Transformer (HuBERT Base: 768)."""

    feature_projection: bool = True
    """Linear layer from the last convolution to D; students that end at D have none."""

    feature_layer_norm: bool = True
    """LayerNorm over the last convolution's channels before the projection (all published: yes)."""

    feature_norm_channels: int = 0
    """Channels that this LayerNorm counts, removed ones as zeros, so that pruning them changes no
    output; 0 = those that are there (DPHuBERT)."""

    mask_embedding: bool = True
    """Whether there is a learned vector for masked frames (STaRHuBERT has none)."""

    pos_conv_kernel: int = 128
    """Kernel of the positional convolution (HuBERT: 128)."""

    pos_conv_groups: int = 16
    """Groups of the positional convolution (HuBERT: 16)."""

    frame_padding: str = "conv"
    """`conv`: valid frames by the convolutions' length formula; `chunked`: the rule of fairseq's
    HuBERT and of WavLM, a frame is padding when its whole share of samples is (0 to 2 frames more).
    """

    # --- Transformer
    layers: list[LayerConfig] = field(default_factory=lambda: [LayerConfig() for _ in range(12)])
    """One record per layer (HuBERT Base: 12 equal ones)."""

    norm_first: bool = False
    """LayerNorm before each block and after the last layer (Large), not after each block (Base)."""

    activation: str = "gelu"
    """Activation of the feed-forward blocks (all published: exact GELU)."""

    layer_norm_eps: float = 1e-5
    """Epsilon of every normalisation (all published: 1e-5)."""

    reuse_mode: str = "fixed"
    """How a reused map is applied: `fixed` repeats the softmax that published weights were trained
    with and keeps utterances apart; `ref` also mixes heads and utterances of a batch as the
    published code does; `single` uses the map as it is (best for new students).
    """

    layer_grad_scale: bool = False
    """Scale gradients by depth so that every head's loss weighs alike (ARMHuBERT: yes)."""

    num_buckets: int = 0
    """Buckets of the relative position bias, 0 for none (WavLM: 320)."""

    max_distance: int = 800
    """Largest distance in frames that the relative position bias tells apart (WavLM: 800)."""

    total_heads: int = 0
    """Heads of the position bias before pruning; 0 means the first layer's (WavLM Base: 12)."""

    # --- Heads and outputs
    head_dim: int = 0
    """Width of the per-layer projection heads for distillation, 0 for none (ARMHuBERT: 768)."""

    hidden_states: str = "layers"
    """What `hidden_states` lists: `heads` (projections, as ARMHuBERT's upstream), `layers` (layer
    outputs, as STaRHuBERT's), `transformers` (first layer's input and all outputs), `features`
    (projected features before the positional convolution and all layer outputs, as DPHuBERT's).
    """

    # --- Regularisation (training only)
    dropout: float = 0.1
    """Dropout after attention, after the feed-forward block and on the input (Base: 0.1)."""

    attention_dropout: float = 0.1
    """Dropout on attention maps of `full` layers; reused maps are never dropped (Base: 0.1)."""

    activation_dropout: float = 0.1
    """Dropout inside the feed-forward block (ARMHuBERT: 0.1, HuBERT: 0)."""

    dropout_input: float = 0.05
    """Dropout on the projected features (ARMHuBERT: 0.05)."""

    layerdrop: float = 0.0
    """Probability of skipping a layer in training (ARMHuBERT: 0, HuBERT pre-training: 0.05)."""

    def __post_init__(self) -> None:
        problems = self.validate()
        if problems:
            raise ConfigError("encoder configuration", problems)

    # --- Derived sizes
    @property
    def num_layers(self) -> int:
        """Number N of Transformer layers."""
        return len(self.layers)

    @property
    def conv_dim(self) -> int:
        """Channels of the last convolution."""
        return self.conv_layers[-1][0]

    @property
    def hop(self) -> int:
        """Samples per frame (320 for all published models)."""
        return math.prod(stride for _, _, stride in self.conv_layers)

    @property
    def receptive_field(self) -> int:
        """Fewest samples that give one frame (400 for all published models)."""
        samples = 1
        for _, kernel, stride in reversed(self.conv_layers):
            samples = (samples - 1) * stride + kernel
        return samples

    @property
    def bias_heads(self) -> int:
        """Heads of the relative position bias."""
        return self.total_heads or self.layers[0].num_heads

    @property
    def output_dim(self) -> int:
        """Width of the entries of `hidden_states`."""
        return self.head_dim if self.hidden_states == "heads" else self.embed_dim

    # --- Dict form
    def to_dict(self) -> dict[str, Any]:
        """Plain nested dict, ready for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SpeechEncoderConfig:
        """Build from a plain dict.

        Raises:
            ConfigError: unknown keys, wrong types or impossible values, all listed at once.
        """
        return from_mapping(cls, values, subject="encoder configuration")

    def replace(self, **changes: Any) -> SpeechEncoderConfig:
        """A copy with some fields changed; unknown names raise :class:`ConfigError`."""
        return self.from_dict({**self.to_dict(), **changes})

    def validate(self) -> list[str]:
        """All problems of this configuration, as sentences; empty if it can be built."""
        from espnet_kd.encoder.validation import encoder_problems

        return encoder_problems(self)
