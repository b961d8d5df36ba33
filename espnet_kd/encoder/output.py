"""What the encoder takes and gives between its two halves.

Shapes: B utterances, T frames, D width, H heads, N layers.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor


@dataclass
class FrameFeatures:
    """Projected front-end features: computed once, shared by every pass over the same audio."""

    x_BTD: Tensor
    """(B, T, D) after projection and input dropout, before masking and positions."""

    lengths_B: Tensor | None = None
    """(B,) valid frames, None if the whole batch is valid."""

    padding_BT: Tensor | None = None
    """(B, T), True = padding; None if no frame is."""

    def repeat(self, times: int) -> FrameFeatures:
        """The same batch ``times`` times over, as one batch (for a masked and an unmasked pass)."""
        return FrameFeatures(
            self.x_BTD.repeat(times, 1, 1),
            None if self.lengths_B is None else self.lengths_B.repeat(times),
            None if self.padding_BT is None else self.padding_BT.repeat(times, 1),
        )


@dataclass
class EncoderOutput:
    """All that a forward pass has to show; padded frames hold arbitrary values."""

    hidden_states: list[Tensor]
    """(B, T, width) each, in the system's published convention (`config.hidden_states`)."""

    lengths_B: Tensor | None
    """(B,) valid frames, None if the whole batch is valid."""

    padding_BT: Tensor | None = None
    """(B, T), True = padding; None if no frame is."""

    layer_outputs: list[Tensor] = field(default_factory=list)
    """N x (B, T, D): output of each layer, before heads and before a final LayerNorm."""

    features: Tensor | None = None
    """(B, T, D): projected features as they enter the positional convolution, padding zeroed."""

    layer_input: Tensor | None = None
    """(B, T, D): what enters the first layer, after positions and a post-norm model's LayerNorm."""

    projections: list[Tensor] | None = None
    """N x (B, T, head_dim): outputs of the projection heads, None without heads."""

    attention_maps: list[Tensor | None] | None = None
    """N x (B, H, T, T) on request; None for layers that compute no map."""

    @property
    def last_hidden_state(self) -> Tensor:
        """(B, T, width): the last of the hidden states."""
        return self.hidden_states[-1]
