"""From gates to a physically smaller encoder: closed units go, soft values move into the weights.

Source: spec dphubert.md 7. The pruned encoder computes what the gated one does, except where
LayerNorm statistics or biases of closed blocks change; :class:`PruneReport` says where.

Shapes: C channels, D width, E = heads x head width, F feed-forward units.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from espnet_kd.encoder import SpeechEncoder, SpeechEncoderConfig
from espnet_kd.encoder.build import build_encoder
from espnet_kd.errors import KDError
from espnet_kd.pruning.config import PruningConfig
from espnet_kd.pruning.gates import Masks, map_sources
from espnet_kd.pruning.report import PruneReport, compare

State = dict[str, Tensor]


class PruningError(KDError, ValueError):
    """The gates leave nothing that could be an encoder."""


@torch.no_grad()
def prune_encoder(
    encoder: SpeechEncoder,
    masks: Masks,
    *,
    exact: bool = False,
    macs_seconds: float = PruningConfig.macs_seconds,
) -> tuple[SpeechEncoder, PruneReport]:
    """Remove what ``masks`` close.

    Args:
        encoder: the encoder that was gated; it is not changed and may have been pruned before.
        masks: evaluation masks by gate name (see :class:`espnet_kd.pruning.gates.EncoderGates`).
        exact: keep the feature LayerNorm's statistics as if no channel of the last convolution
            were gone (two vectors of width D more); the published models do not.
        macs_seconds: duration of speech for which the report counts MACs.

    Returns:
        The smaller encoder in evaluation mode, and what was removed.

    Raises:
        PruningError: no channel of a convolution, no attention or no feed-forward block is left.
    """
    surgery = _Surgery(encoder, masks)
    surgery.cut_convolutions()
    surgery.cut_feature_projection(exact)
    surgery.cut_attention()
    surgery.cut_feed_forward()
    config = SpeechEncoderConfig.from_dict(surgery.values)
    pruned = build_encoder(config, surgery.state, "the pruned encoder", {})
    return pruned, compare(encoder, pruned, surgery.notes, macs_seconds)


class _Surgery:
    """Weights and configuration of an encoder on their way to a smaller one."""

    def __init__(self, encoder: SpeechEncoder, masks: Masks) -> None:
        self.config = encoder.config
        self.masks = {name: mask.detach() for name, mask in masks.items()}
        self.state: State = {name: t.detach().clone() for name, t in encoder.state_dict().items()}
        self.values: dict[str, Any] = encoder.config.to_dict()
        self.notes: list[str] = []

    # --- Convolutions
    def cut_convolutions(self) -> None:
        """Remove channels; their soft values go into the next convolution or the scale."""
        last = len(self.config.conv_layers) - 1
        for index in range(last + 1):
            mask_C = self.masks.get(f"conv_{index}")
            if mask_C is None:
                continue
            kept = _kept(mask_C)
            if not len(kept):
                raise PruningError(
                    f"convolution {index} has no channel left; prune a later epoch, train with a "
                    "lower target_sparsity, or leave conv out of pruning_units"
                )
            self._cut(f"feature_extractor.conv_layers.{index}", kept)
            self.values["conv_layers"][index][0] = len(kept)
            if index < last:
                name = f"feature_extractor.conv_layers.{index + 1}.conv.weight"
                self.state[name] = (self.state[name] * mask_C[:, None])[:, kept]
            else:
                self._scale_channels(mask_C, kept)
            if len(kept) < len(mask_C) and self.config.extractor_norm == "layer_norm":
                self.notes.append(
                    f"convolution {index}: its LayerNorm now counts {len(kept)} of {len(mask_C)} "
                    "channels, so outputs differ from the gated model's (Q12)"
                )

    def _scale_channels(self, mask_C: Tensor, kept: Tensor) -> None:
        name = "feature_extractor.channel_scale"
        scale_C = self.state.get(name, torch.ones_like(mask_C))
        self.state[name] = (scale_C * mask_C)[kept]
        self.values["channel_scale"] = True

    def cut_feature_projection(self, exact: bool) -> None:
        """Remove the last convolution's channels from LayerNorm and Linear."""
        mask_C = self.masks.get(f"conv_{len(self.config.conv_layers) - 1}")
        if mask_C is None or bool((mask_C != 0).all()):
            return
        kept = _kept(mask_C)
        if self.config.feature_layer_norm and (exact or self.config.feature_norm_channels):
            self._keep_statistics(mask_C == 0)
        elif self.config.feature_layer_norm:
            self.notes.append(
                f"feature projection: its LayerNorm now counts {len(kept)} of {len(mask_C)} "
                "channels, so outputs differ from the gated model's (Q11; --exact keeps them)"
            )
        if self.config.feature_layer_norm:
            self._cut("feature_projection.norm", kept)
        name = "feature_projection.linear.weight"
        self.state[name] = self.state[name][:, kept]

    def _keep_statistics(self, removed_C: Tensor) -> None:
        weight_DC = self.state["feature_projection.linear.weight"][:, removed_C]
        for name, part in (("removed_gain", "weight"), ("removed_bias", "bias")):
            vector_D = weight_DC @ self.state[f"feature_projection.norm.{part}"][removed_C]
            earlier = self.state.get(f"feature_projection.{name}", torch.zeros_like(vector_D))
            self.state[f"feature_projection.{name}"] = earlier + vector_D
        total = self.config.feature_norm_channels or self.config.conv_dim
        self.values["feature_norm_channels"] = total

    # --- Layers
    def cut_attention(self) -> None:
        """Remove heads, and blocks of which nothing is left."""
        if self.config.num_buckets:
            self.values["total_heads"] = self.config.bias_heads
        sources = map_sources(self.config)
        for index, layer in enumerate(self.config.layers):
            if layer.attention == "none":
                continue
            heads = self.masks.get(f"head_{sources[index]}")
            heads = torch.ones(layer.num_heads) if heads is None else heads
            block = float(self.masks.get(f"attlayer_{index}", torch.ones(1)))
            self._cut_heads(index, heads, block)
        if all(layer["attention"] == "none" for layer in self.values["layers"]):
            raise PruningError(_nothing_left("attention", "head and attlayer"))

    def _cut_heads(self, index: int, heads: Tensor, block: float) -> None:
        layer, record = self.config.layers[index], self.values["layers"][index]
        where, kept = f"layers.{index}.attention", _kept(heads)
        if not block or not len(kept):
            self._remove(where, index, "heads" if block else "")
            record.update(attention="none", kept_heads=None)
            return
        units_E = (heads != 0).repeat_interleave(layer.head_dim).nonzero()[:, 0]
        names = ("v_proj",) if layer.attention == "reused" else ("q_proj", "k_proj", "v_proj")
        for name in names:
            self._cut(f"{where}.{name}", units_E)
        scale_E = heads.repeat_interleave(layer.head_dim) * block
        self._scale_and_cut_inputs(f"{where}.out_proj", scale_E, units_E, block)
        record["num_heads"] = len(kept)
        if layer.attention == "full" and self.config.num_buckets:
            before = layer.kept_heads or list(range(layer.num_heads))
            record["kept_heads"] = [before[head] for head in kept.tolist()]

    def cut_feed_forward(self) -> None:
        """Remove intermediate units, and blocks of which nothing is left."""
        for index, layer in enumerate(self.config.layers):
            if not layer.ffn_dim:
                continue
            units = self.masks.get(f"interm_{index}", torch.ones(layer.ffn_dim))
            block = float(self.masks.get(f"ffnlayer_{index}", torch.ones(1)))
            where, kept = f"layers.{index}.feed_forward", _kept(units)
            if not block or not len(kept):
                self._remove(where, index, "units" if block else "")
                self.values["layers"][index]["ffn_dim"] = 0
                continue
            self._cut(f"{where}.intermediate", kept)
            self._scale_and_cut_inputs(f"{where}.output", units * block, kept, block)
            self.values["layers"][index]["ffn_dim"] = len(kept)
        if not any(layer["ffn_dim"] for layer in self.values["layers"]):
            raise PruningError(_nothing_left("feed-forward", "interm and ffnlayer"))

    # --- Tools
    def _cut(self, where: str, kept: Tensor) -> None:
        """Keep some outputs of everything below ``where``."""
        for name, tensor in self.state.items():
            if name.startswith(f"{where}."):
                self.state[name] = tensor[kept]

    def _scale_and_cut_inputs(
        self, where: str, scale_E: Tensor, kept: Tensor, block: float
    ) -> None:
        self.state[f"{where}.weight"] = (self.state[f"{where}.weight"] * scale_E)[:, kept]
        self.state[f"{where}.bias"] = self.state[f"{where}.bias"] * block

    def _remove(self, where: str, index: int, closed_units: str) -> None:
        self.state = {n: t for n, t in self.state.items() if not n.startswith(f"{where}.")}
        if closed_units:
            block = "attention" if closed_units == "heads" else "feed-forward"
            self.notes.append(
                f"layer {index}: all {closed_units} are closed, so the whole {block} block and its "
                "output bias, which the gated model still adds, are gone (Q13)"
            )


def _kept(mask_U: Tensor) -> Tensor:
    return mask_U.nonzero()[:, 0]


def _nothing_left(block: str, units: str) -> str:
    return (
        f"no layer has its {block} block left, the encoder would be useless; train with a lower "
        f"target_sparsity or leave {units} out of pruning_units"
    )
