"""Transducer losses in plain torch: full lattice, simple lattice, pruned lattice (as k2's).

The functions have k2's names, order and options; the modules of :mod:`~.loss` join them as
published, or hand over to k2 or torchaudio.
"""

from __future__ import annotations

from espnet_kd.losses.transducer.loss import (
    PrunedTransducerLoss,
    TransducerLoss,
    pruned_loss_scale,
)
from espnet_kd.losses.transducer.pruned import (
    do_rnnt_pruning,
    get_rnnt_prune_ranges,
    rnnt_loss,
    rnnt_loss_pruned,
)
from espnet_kd.losses.transducer.recursion import mutual_information_recursion
from espnet_kd.losses.transducer.simple import SimpleLoss, rnnt_loss_simple, rnnt_loss_smoothed

__all__ = [
    "PrunedTransducerLoss",
    "SimpleLoss",
    "TransducerLoss",
    "do_rnnt_pruning",
    "get_rnnt_prune_ranges",
    "mutual_information_recursion",
    "pruned_loss_scale",
    "rnnt_loss",
    "rnnt_loss_pruned",
    "rnnt_loss_simple",
    "rnnt_loss_smoothed",
]
