"""Structured pruning of one encoder while it is trained on any loss: gates, target, multipliers.

The training loop forwards its encoder inside :meth:`StructuredPruning.applied`, adds
:meth:`StructuredPruning.loss` to its own loss and gives the optimiser
:meth:`StructuredPruning.parameter_groups`; the rest is up to it. (Joint distillation and pruning:
Peng et al., arXiv 2305.17651; with a task loss: HJ-Pruning, arXiv 2302.14132.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from espnet_kd.encoder import SpeechEncoder
from espnet_kd.errors import ConfigError
from espnet_kd.losses.sparsity import SparsityLagrangian, warmed_up_target
from espnet_kd.pruning.config import PruningConfig
from espnet_kd.pruning.fit import fitted_masks
from espnet_kd.pruning.gates import EncoderGates, Masks
from espnet_kd.pruning.sizes import (
    Count,
    Sizes,
    count_macs,
    count_parameters,
    parameter_total,
)


class StructuredPruning(nn.Module):
    """Gates and Lagrangian for an encoder.

    Args:
        encoder: the model to prune; it is looked at, not kept.
        options: what is pruned, how far and how fast.

    Raises:
        ConfigError: impossible options, or a target that these units cannot reach.
    """

    def __init__(self, encoder: SpeechEncoder, options: PruningConfig) -> None:
        super().__init__()
        problems = options.validate()
        if problems:
            raise ConfigError("pruning", problems)
        self.options = options
        self.config = encoder.config
        self.gates = EncoderGates(encoder.config, options.pruning_units)
        self.lagrangian = SparsityLagrangian()
        self.original = self._original(encoder)
        self._check_target(encoder)

    def _original(self, encoder: SpeechEncoder) -> float:
        if self.options.target == "params":
            return float(parameter_total(encoder))
        return float(self._size(self.gates.full_sizes()))

    def _size(self, sizes: Sizes) -> Count:
        if self.options.target == "params":
            return count_parameters(self.config, sizes)
        return count_macs(self.config, sizes, self.options.macs_seconds)

    def _check_target(self, encoder: SpeechEncoder) -> None:
        problems = []
        if not list(self.gates.named_gates()):
            problems.append(f"this encoder has nothing of {', '.join(self.options.pruning_units)}")
        frozen = encoder.config.feature_grad_mult <= 0.0
        if frozen and "conv" in self.options.pruning_units:
            problems.append(
                "the convolutions are frozen (feature_grad_mult 0), so their gates would learn "
                "nothing; set feature_grad_mult: 1.0 or leave conv out of pruning_units"
            )
        reachable = 1.0 - float(self._size(self.gates.least_sizes())) / self.original
        if self.options.target_sparsity >= reachable:
            problems.append(
                f"target_sparsity {self.options.target_sparsity} cannot be reached: with "
                f"{', '.join(self.options.pruning_units)} at most {reachable:.4f} of the "
                f"{self.options.target} can go; lower the target or gate more kinds of units"
            )
        if problems:
            raise ConfigError("pruning", problems)

    # --- What a training loop calls
    def applied(
        self, encoder: SpeechEncoder, masks: Masks | None = None
    ) -> AbstractContextManager[Masks]:
        """Gate ``encoder`` within a block; see :meth:`EncoderGates.applied`."""
        return self.gates.applied(encoder, masks)

    def expected_sparsity(self) -> Tensor:
        """Share of the target's measure that is expected to go: a scalar in double precision."""
        size = self._size(self.gates.expected_sizes())
        assert isinstance(size, Tensor)
        sparsity: Tensor = 1.0 - size / self.original
        return sparsity

    def sparsity_with(self, closed: Mapping[str, int]) -> float:
        """Share of the target's measure that goes with so many closed units of each gate.

        Counted on the whole encoder: the published formula forgets WavLM's position bias.
        """
        gone = self._size(self.gates.full_sizes()) - self._size(self.gates.sizes_with(closed))
        return float(gone) / self.original

    def masks(self) -> Masks:
        """(U,) evaluation values by gate: as training left them, or fitted to the target."""
        if self.options.fit_target:
            return fitted_masks(self)
        return {name: gate.mask() for name, gate in self.gates.named_gates()}

    def loss(self, updates_done: int) -> dict[str, Tensor]:
        """The Lagrangian's terms before update ``updates_done + 1``."""
        options = self.options
        target = warmed_up_target(options.target_sparsity, updates_done, options.sparsity_warmup)
        terms: dict[str, Tensor] = self.lagrangian(self.expected_sparsity(), target)
        return terms

    def parameter_groups(self, others: Iterable[nn.Parameter]) -> list[dict[str, Any]]:
        """Optimiser groups: everything else, the gates, and the multipliers, which ascend.

        Args:
            others: the remaining trainable parameters, at the optimiser's own learning rate.
        """
        rate = {"lr": self.options.reg_lr, "weight_decay": 0.0}
        return [
            {"params": list(others)},
            {"params": list(self.gates.parameters()), **rate},
            {"params": list(self.lagrangian.parameters()), **rate, "maximize": True},
        ]

    # --- What a log shows
    @torch.no_grad()
    def summary(self, updates_done: int) -> dict[str, Any]:
        """Plain numbers for a log: expected sparsity, target, multipliers, kept units."""
        terms = self.loss(updates_done)
        kept = self.gates.kept_sizes()
        values = {name: float(term) for name, term in terms.items() if name != "loss"}
        return {
            "updates": updates_done,
            **values,
            "sparsity_kept": 1.0 - float(self._size(kept)) / self.original,
            "channels": [int(count) for count in kept.channels],
            "heads": [int(h * a) for h, a in zip(kept.heads, kept.attention, strict=True)],
            "units": [int(u * f) for u, f in zip(kept.units, kept.feed_forward, strict=True)],
        }
