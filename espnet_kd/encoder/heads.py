"""Per-layer projection heads: from the student's width to the teacher's.

Shapes: B utterances, T frames, D student width, P teacher width.
"""

from __future__ import annotations

from torch import Tensor, nn


class ProjectionHeads(nn.ModuleList):
    """One Linear per layer; where the widths agree, the identity without parameters."""

    def __init__(self, num_layers: int, width: int, head_dim: int) -> None:
        same = width == head_dim
        super().__init__(
            nn.Identity() if same else nn.Linear(width, head_dim) for _ in range(num_layers)
        )

    def project(self, layer: int, x_BTD: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, P) by the head of ``layer``."""
        y_BTP: Tensor = self[layer](x_BTD)
        return y_BTP
