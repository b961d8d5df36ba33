"""The published schedule of training (arXiv 2211.00508 and its package's trainer).

Phase one trains small codebooks of 16 centres, phase two pairs of them as codebooks of 256. Adam
with L2 decay; the learning rate halves four times a phase. Published figures were tuned for batches
of 512 to 600 vectors.

Shapes: B vectors, D width.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from espnet_kd.errors import ConfigError
from espnet_kd.quantizer.config import QuantizerConfig
from espnet_kd.quantizer.quantizer import Quantizer

SMALL_CODEBOOK = 16


def make_optimizer(quantizer: Quantizer, lr: float) -> torch.optim.Adam:
    """The published optimiser."""
    return torch.optim.Adam(
        quantizer.parameters(), lr=lr, betas=(0.9, 0.98), eps=1e-9, weight_decay=1e-6
    )


def training_step(
    quantizer: Quantizer, optimizer: torch.optim.Optimizer, x_BD: Tensor, iters: int
) -> dict[str, Tensor]:
    """One update on a batch; returns its losses, detached."""
    optimizer.zero_grad()
    losses = quantizer(x_BD, iters)
    losses["loss"].backward()
    optimizer.step()
    return {name: value.detach() for name, value in losses.items()}


class QuantizerTrainer:
    """Train a quantiser batch by batch.

    Each update refines codes twice with probability one half, else once. As published, phase one
    has one update more than its length, and a learning rate whose four steps are no whole numbers
    of updates changes at whole ones only.

    Args:
        dim: D.
        bytes_per_frame: codebooks N of 256 centres; 1, 2, 4, 8, 16 or 32.
        phase_one_iters: updates of phase one.
        phase_two_iters: updates of phase two.
        lr: learning rate of phase one; phase two begins with half of it.
        seed: of the numbers of refinements.
        device: where to train.

    Raises:
        ConfigError: a size or a length that cannot be.
    """

    def __init__(
        self,
        dim: int,
        bytes_per_frame: int = 8,
        *,
        phase_one_iters: int = 10_000,
        phase_two_iters: int = 10_000,
        lr: float = 0.005,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        problems = [
            f"{name} is {value}; it must be positive and finite"
            for name, value in (
                ("phase_one_iters", phase_one_iters),
                ("phase_two_iters", phase_two_iters),
                ("lr", lr),
            )
            if not 0 < value < math.inf
        ]
        if problems:
            raise ConfigError("training of the quantiser", problems)
        self.phase_iters = (phase_one_iters, phase_two_iters)
        self.lr = lr
        self.updates = 0
        self.random = random.Random(seed)
        config = QuantizerConfig(dim, 2 * bytes_per_frame, SMALL_CODEBOOK)
        self._begin(Quantizer(config).to(device))

    @property
    def total(self) -> int:
        """Updates of both phases."""
        return sum(self.phase_iters) + 1

    @property
    def done(self) -> bool:
        """Whether training is over."""
        return self.updates >= self.total

    @property
    def phase(self) -> int:
        """0 or 1."""
        return int(self.updates > self.phase_iters[0])

    def step(self, x_BD: Tensor) -> dict[str, Tensor]:
        """One update; phase two begins by itself. Returns the losses of the batch."""
        iters = 2 if self.random.random() > 0.5 else 1
        losses = training_step(self.quantizer, self.optimizer, x_BD, iters)
        phase = self.phase
        done = self.updates + 1 - (self.phase_iters[0] + 1) * phase
        if done % (self.phase_iters[phase] / 4) == 0:
            for group in self.optimizer.param_groups:
                group["lr"] *= 0.5
        self.updates += 1
        if self.phase != phase:
            self._begin(self.quantizer.product())
        return losses

    def state_dict(self) -> dict[str, Any]:
        """Tensors (of quantiser and optimiser) and plain values to go on from."""
        slots = self.optimizer.state_dict()["state"]
        tensors = {f"quantizer.{k}": v for k, v in self.quantizer.state_dict().items()}
        tensors |= {f"adam.{i}.{k}": v for i, slot in slots.items() for k, v in slot.items()}
        return {
            "tensors": tensors,
            "updates": self.updates,
            "lr": self.optimizer.param_groups[0]["lr"],
            "random": self.random.getstate(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict` (of the same options)."""
        self.updates = state["updates"]
        config = self.quantizer.config
        if self.phase and config.codebook_size == SMALL_CODEBOOK:
            self._begin(self.quantizer.product())
        weights = {
            k.removeprefix("quantizer."): v
            for k, v in state["tensors"].items()
            if k.startswith("quantizer.")
        }
        self.quantizer.load_state_dict(weights)
        slots: dict[int, dict[str, Tensor]] = {}
        for name, tensor in state["tensors"].items():
            if name.startswith("adam."):
                _, number, key = name.split(".", 2)
                slots.setdefault(int(number), {})[key] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        groups[0]["lr"] = state["lr"]
        self.optimizer.load_state_dict({"state": slots, "param_groups": groups})
        version, numbers, gauss = state["random"]
        self.random.setstate((version, tuple(numbers), gauss))

    def _begin(self, quantizer: Quantizer) -> None:
        self.quantizer = quantizer.train()
        self.optimizer = make_optimizer(self.quantizer, self.lr / (1 + self.phase))


@torch.no_grad()
def relative_errors(
    quantizer: Quantizer, x_BD: Tensor, iters: tuple[int, ...] = (0, 1, 2, 3, 4, 5)
) -> dict[int, float]:
    """Squared error relative to that of the vectors' mean, by number of refinement passes."""
    spread = (x_BD - x_BD.mean(dim=0)).square().sum().clamp(min=1e-20)
    errors = {}
    for number in iters:
        codes_BN = quantizer.encode(x_BD, number, as_bytes=False)
        error = (quantizer.decode(codes_BN) - x_BD).square().sum()
        errors[number] = float(error / spread)
    return errors
