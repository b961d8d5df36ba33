"""Masks of a run: the same for the same seed, epoch and rank, however often it was interrupted.

Shapes: B batch, T frames.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from espnet_kd.losses.masking import MaskConfig, generate_mask
from espnet_kd.losses.schedule import MaskProbSchedule


class MaskSource:
    """Draws the masks of training and validation from generators of its own."""

    def __init__(
        self,
        config: MaskConfig,
        schedule: str | list[float] | None,
        *,
        max_epoch: int,
        seed: int,
        rank: int,
    ) -> None:
        self.config = config
        self.schedule = MaskProbSchedule(schedule, max_epoch)
        self.seed = seed
        self.rank = rank
        self.start_epoch(1)

    def start_epoch(self, epoch: int) -> None:
        """Begin the masks of an epoch (from 1); the masking probability follows its schedule."""
        probability = self.schedule.value(epoch - 1)
        if probability is not None:
            self.config = dataclasses.replace(self.config, mask_prob=probability)
        self._rng = np.random.RandomState([self.seed, self.rank, epoch])

    def start_validation(self) -> None:
        """Begin the masks of a validation: the same every time, so that epochs can be compared."""
        self._rng = np.random.RandomState([self.seed, self.rank, 0])

    def draw(self, lengths_B: Tensor, num_frames: int) -> Tensor:
        """(B, T) boolean on the device of ``lengths_B``, True = masked; no padded frame is
        masked.
        """
        lengths = lengths_B.tolist()
        mask = generate_mask(self.config, lengths, num_frames, self._rng)
        return torch.from_numpy(mask).to(lengths_B.device)
