"""Optimiser and learning-rate schedule of the published distillation runs."""

from __future__ import annotations

from espnet_kd.optim.adamw import ScheduledAdamW, decay_groups
from espnet_kd.optim.schedule import LinearWarmupDecay, linear_warmup_decay

__all__ = ["LinearWarmupDecay", "ScheduledAdamW", "decay_groups", "linear_warmup_decay"]
