"""Gates on the units of an encoder, attached from outside: the encoder itself knows of none.

A gate multiplies what its unit gives. Everything behind a unit is linear up to the next weight
matrix, so the factor goes into that matrix: channels into the next convolution, heads into the
output projection, feed-forward units into the second matrix. The result is the same, and no
activation has to be multiplied or kept for the backward pass. Only the last convolution's channels
meet a LayerNorm first; their factors become the front end's channel scale.

Shapes: U units of one gate, C channels, D width, H heads, d head width, F feed-forward units.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from espnet_kd.encoder import SpeechEncoder, SpeechEncoderConfig
from espnet_kd.encoder.layer import TransformerLayer
from espnet_kd.pruning.hard_concrete import HardConcrete
from espnet_kd.pruning.sizes import Count, Sizes, sizes_of

INITIAL_DROP = {"interm": 0.5}
"""Probability of a closed gate at the start where it is not 0.01 (spec dphubert.md 3)."""

Swap = tuple[nn.Module, str, Tensor]
Masks = Mapping[str, Tensor]


class EncoderGates(nn.Module):
    """Hard Concrete gates for one architecture.

    Gates are named by unit and index: ``conv_0``, ``head_3``, ``interm_3``, ``attlayer_3``,
    ``ffnlayer_3``. Layers that share an attention map share its heads' gate, named by the layer
    that computes the map; that layer's attention block has no gate of its own, since others live
    on it. Convolution channels that are the Transformer's width (no projection) are not gated.

    Args:
        config: the encoder's.
        units: of :data:`espnet_kd.pruning.config.UNITS`.
    """

    def __init__(self, config: SpeechEncoderConfig, units: Sequence[str]) -> None:
        super().__init__()
        self.config = config
        self.sources = map_sources(config)
        self.gates = nn.ModuleDict(
            {
                f"{unit}_{index}": HardConcrete(size, INITIAL_DROP.get(unit, 0.01))
                for unit in units
                for index, size in self._units(unit)
            }
        )

    def _units(self, unit: str) -> Iterator[tuple[int, int]]:
        """Index and size of each gate of one kind."""
        config = self.config
        if unit == "conv":
            gated = len(config.conv_layers) - (not config.feature_projection)
            yield from ((i, config.conv_layers[i][0]) for i in range(gated))
        for index, layer in enumerate(config.layers):
            if unit == "head" and layer.attention == "full":
                yield index, layer.num_heads
            elif unit == "attlayer" and layer.attention != "none" and not self._lends_map(index):
                yield index, 1
            elif unit == "interm" and layer.ffn_dim:
                yield index, layer.ffn_dim
            elif unit == "ffnlayer" and layer.ffn_dim:
                yield index, 1

    def _lends_map(self, index: int) -> bool:
        return any(s == index and i != index for i, s in enumerate(self.sources))

    def named_gates(self) -> Iterator[tuple[str, HardConcrete]]:
        """All gates by name."""
        for name, gate in self.gates.items():
            assert isinstance(gate, HardConcrete)
            yield name, gate

    def masks(self) -> dict[str, Tensor]:
        """(U,) values by gate: one sample for a training step, or the evaluation masks."""
        return {name: gate() for name, gate in self.named_gates()}

    # --- Expectations
    def expected_sizes(self) -> Sizes:
        """Unit counts as expectations, differentiable, in double precision."""
        return self._sizes({name: gate.expected_open() for name, gate in self.named_gates()})

    def kept_sizes(self) -> Sizes:
        """Unit counts that the evaluation masks leave."""
        return self.sizes_with({name: gate.expected_closed() for name, gate in self.named_gates()})

    def sizes_with(self, closed: Mapping[str, int]) -> Sizes:
        """Unit counts with so many closed units of each gate."""
        return self._sizes(
            {name: gate.log_alpha.numel() - closed[name] for name, gate in self.named_gates()}
        )

    def full_sizes(self) -> Sizes:
        """Unit counts of the encoder as it is."""
        return sizes_of(self.config)

    def least_sizes(self) -> Sizes:
        """Unit counts with every gate closed; a convolution keeps one channel."""
        return self._sizes(
            {name: float(name.startswith("conv_")) for name, _ in self.named_gates()}
        )

    def _sizes(self, counts: Mapping[str, Count]) -> Sizes:
        plain = sizes_of(self.config)
        heads = [plain.heads[i] if s is None else s for i, s in enumerate(self.sources)]

        def chosen(unit: str, keys: Sequence[Count], values: Sequence[Count]) -> list[Count]:
            return [counts.get(f"{unit}_{k}", v) for k, v in zip(keys, values, strict=True)]

        layers, convs = range(len(plain.heads)), range(len(plain.channels))
        return Sizes(
            channels=chosen("conv", convs, plain.channels),
            heads=chosen("head", heads, plain.heads),
            units=chosen("interm", layers, plain.units),
            attention=chosen("attlayer", layers, plain.attention),
            feed_forward=chosen("ffnlayer", layers, plain.feed_forward),
        )

    # --- Attachment
    @contextmanager
    def applied(self, encoder: SpeechEncoder, masks: Masks | None = None) -> Iterator[Masks]:
        """Within the block the encoder computes as if its units were multiplied by ``masks``.

        Its own weights are not changed; gradients reach them and the gates.

        Args:
            encoder: of this object's configuration.
            masks: values by gate; None takes :meth:`masks`.
        """
        masks = self.masks() if masks is None else masks
        swapped: list[tuple[nn.Module, str, nn.Parameter | None]] = []
        try:
            for module, name, value in self._gated_weights(encoder, masks):
                swapped.append((module, name, module._parameters[name]))
                module._parameters[name] = value  # type: ignore[assignment]
            yield masks
        finally:
            for module, name, weight in reversed(swapped):
                module._parameters[name] = weight

    def _gated_weights(self, encoder: SpeechEncoder, masks: Masks) -> Iterator[Swap]:
        yield from _gated_convolutions(encoder, masks)
        for index, layer in enumerate(encoder.layers):
            assert isinstance(layer, TransformerLayer)
            if layer.attention is not None:
                heads = masks.get(f"head_{self.sources[index]}")
                inputs_E = None
                if heads is not None:
                    inputs_E = heads.repeat_interleave(self.config.layers[index].head_dim)
                block = masks.get(f"attlayer_{index}")
                yield from _gated_linear(layer.attention.out_proj, inputs_E, block)
            if layer.feed_forward is not None:
                inputs_F, block = masks.get(f"interm_{index}"), masks.get(f"ffnlayer_{index}")
                yield from _gated_linear(layer.feed_forward.output, inputs_F, block)


def _gated_convolutions(encoder: SpeechEncoder, masks: Masks) -> Iterator[Swap]:
    extractor = encoder.feature_extractor
    convs = [block.get_submodule("conv") for block in extractor.conv_layers]
    for index in range(len(convs)):
        mask_C = masks.get(f"conv_{index}")
        if mask_C is None:
            continue
        if index + 1 < len(convs):
            following = convs[index + 1]
            weight = following.get_parameter("weight")
            yield following, "weight", weight * mask_C.to(weight.dtype)[:, None]
        else:
            scale_C = extractor.channel_scale
            yield extractor, "channel_scale", mask_C if scale_C is None else mask_C * scale_C


def _gated_linear(
    linear: nn.Linear, inputs_E: Tensor | None, block_1: Tensor | None
) -> Iterator[Swap]:
    """Scale a Linear's inputs by unit gates, and all that it gives by the block's gate."""
    if inputs_E is None and block_1 is None:
        return
    scale = torch.ones_like(linear.weight[0]) if inputs_E is None else inputs_E
    if block_1 is not None:
        scale = scale * block_1
        yield linear, "bias", linear.bias * block_1.to(linear.bias.dtype)
    yield linear, "weight", linear.weight * scale.to(linear.weight.dtype)


def map_sources(config: SpeechEncoderConfig) -> list[int | None]:
    """For each layer the one that computes its attention map (itself or an earlier one)."""
    sources: list[int | None] = []
    latest = None
    for index, layer in enumerate(config.layers):
        if layer.attention == "full":
            latest = index
        sources.append(None if layer.attention == "none" else latest)
    return sources
