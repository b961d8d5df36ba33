"""Optimisers and learning-rate schedules of the published distillation runs."""

from __future__ import annotations

from espnet_kd.optim.adamw import ScheduledAdamW, decay_groups
from espnet_kd.optim.eden import Eden, eden
from espnet_kd.optim.eve import Eve
from espnet_kd.optim.schedule import LinearWarmupDecay, linear_warmup_decay

__all__ = [
    "Eden",
    "Eve",
    "LinearWarmupDecay",
    "ScheduledAdamW",
    "decay_groups",
    "eden",
    "linear_warmup_decay",
]
