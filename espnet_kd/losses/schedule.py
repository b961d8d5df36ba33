"""What changes from epoch to epoch: the hint layers and the masking probability.

Both are pure functions of the epoch (from 0), so a resumed run and every process of a distributed
run see the same values.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Sequence

from espnet_kd.errors import ConfigError


class HintLayerSchedule:
    """Random hint layers, drawn without replacement from 0..N-2 and re-drawn every epoch.

    Args:
        num_layers: N, the student's (and teacher's) number of layers; the last is never a hint.
        num_hints: ``distil_random_layer``: how many hints; published N-1, i.e. all. 0 = none.
        seed: Of the draws.
    """

    def __init__(self, num_layers: int, num_hints: int, seed: int = 0) -> None:
        if not 0 <= num_hints <= num_layers - 1:
            allowed = f"with {num_layers} layers it must lie in 0..{num_layers - 1}"
            raise ConfigError("hint layers", [f"distil_random_layer is {num_hints}; {allowed}"])
        self.num_layers = num_layers
        self.num_hints = num_hints
        self.seed = seed

    def layers(self, epoch: int) -> list[int]:
        """Return the sorted hint layers of an epoch (from 0)."""
        rng = random.Random(f"hint layers {self.seed} {epoch}")
        return sorted(rng.sample(range(self.num_layers - 1), self.num_hints))


class MaskProbSchedule:
    """Masking probability that moves linearly from a to b, one step per epoch.

    Args:
        schedule: ``mask_prob_schedule``: ``"[a, b]"`` or the pair itself; empty or None = off
            (published).
        num_epochs: Epochs of the run; b would be reached in the epoch after the last one, as
            published (num_epochs + 1 points).
    """

    def __init__(self, schedule: str | Sequence[float] | None, num_epochs: int) -> None:
        self.ends = _parse_pair(schedule)
        if num_epochs < 1:
            raise ConfigError(
                "mask_prob_schedule", [f"num_epochs is {num_epochs}; it must be positive"]
            )
        self.num_epochs = num_epochs

    def value(self, epoch: int) -> float | None:
        """Return the probability of an epoch (from 0), constant after the end; None = off."""
        if self.ends is None:
            return None
        first, last = self.ends
        return first + (last - first) * min(max(epoch, 0), self.num_epochs) / self.num_epochs


def _parse_pair(schedule: str | Sequence[float] | None) -> tuple[float, float] | None:
    """Return the two ends, or None for an empty schedule; only literals are understood."""
    pair: object = schedule
    if isinstance(schedule, str):
        try:
            pair = ast.literal_eval(schedule.strip()) if schedule.strip() else None
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            pair = schedule
    if pair is None or (isinstance(pair, (list, tuple)) and not pair):
        return None
    if (
        isinstance(pair, (list, tuple))
        and len(pair) == 2
        and all(type(x) in (int, float) and 0.0 <= x <= 1.0 for x in pair)
    ):
        return float(pair[0]), float(pair[1])
    raise ConfigError(
        "mask_prob_schedule",
        [f'{schedule!r} is no pair of probabilities; write e.g. "[0.4, 0.8]", or leave it empty'],
    )
