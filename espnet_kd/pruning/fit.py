"""The size asked for, exactly: which of the least decided units to close or open after training.

The published evaluation mask rounds every gate vector on its own, and a short training may leave
the expectation beside its target; both show in a small model, where a head is a percent of
everything. Here the units nearest to being decided otherwise change sides, whatever vector they
belong to, until no change brings the encoder nearer to its target.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import torch

from espnet_kd.pruning.gates import Masks

if TYPE_CHECKING:
    from espnet_kd.pruning.structured import StructuredPruning

Closed = dict[str, int]
"""Number of closed units by gate name; the units of a gate close in the order of log_alpha."""


@torch.no_grad()
def fitted_masks(pruning: StructuredPruning) -> Masks:
    """Evaluation masks of the size that ``pruning`` is to reach.

    Args:
        pruning: trained gates; not changed.

    Returns:
        (U,) values by gate as :meth:`EncoderGates.masks` has them in evaluation. Their size is as
        near to the target as single units allow; no gate loses its last unit by it.
    """
    closed = fit_closed(pruning)
    return {name: gate.mask(closed[name]) for name, gate in pruning.gates.named_gates()}


@torch.no_grad()
def fit_closed(pruning: StructuredPruning) -> Closed:
    """Number of units to close by gate, from what training decided to what the target asks for."""
    gates = dict(pruning.gates.named_gates())
    order = {name: gate.log_alpha.sort().values.tolist() for name, gate in gates.items()}
    closed = {name: gate.expected_closed() for name, gate in gates.items()}
    excess = _excess(pruning, closed)
    while True:
        for name in _next_to_change(order, closed, close=excess > 0):
            changed = {**closed, name: closed[name] + (1 if excess > 0 else -1)}
            found = _excess(pruning, changed)
            if abs(found) < abs(excess):  # else this unit is too large a step
                closed, excess = changed, found
                break
        else:
            return closed


def _excess(pruning: StructuredPruning, closed: Closed) -> float:
    """By how much of the original the encoder is too large."""
    return pruning.options.target_sparsity - pruning.sparsity_with(closed)


def _next_to_change(
    order: Mapping[str, list[float]], closed: Closed, *, close: bool
) -> Iterator[str]:
    """Gates that have a unit to close (or open), the least decided unit's first."""
    if close:
        unit = {n: closed[n] for n in order if closed[n] < len(order[n]) - 1}
    else:
        unit = {n: closed[n] - 1 for n in order if closed[n] > 0}
    yield from sorted(unit, key=lambda name: order[name][unit[name]], reverse=not close)
