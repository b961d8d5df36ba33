"""Which parameters of a Whisper are trained, and which of them decay.

Source: Distil-Whisper's training; spec whisper.md 4.3 and 4.4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(frozen=True, kw_only=True)
class Freezing:
    """Parts that are not trained; the encoder's position table never is."""

    freeze_encoder: bool = False
    """The whole encoder. With the teacher's own encoder its states serve both models."""

    freeze_decoder: bool = False
    """The decoder but for the token embedding, which is the output projection too."""

    freeze_embed_positions: bool = False
    """The decoder's position table."""

    def apply(self, model: Any) -> None:
        """Set ``requires_grad`` of all parameters of a ``WhisperForConditionalGeneration``."""
        model.requires_grad_(True)
        encoder, decoder = model.model.encoder, model.model.decoder
        encoder.requires_grad_(not self.freeze_encoder)
        encoder.embed_positions.requires_grad_(False)
        decoder.requires_grad_(not self.freeze_decoder)
        decoder.embed_tokens.requires_grad_(True)
        if self.freeze_embed_positions:
            decoder.embed_positions.requires_grad_(False)

    def decays(self, name: str) -> bool:
        """Whether a parameter of this name belongs to a part that is trained as a whole."""
        frozen = (
            (self.freeze_encoder, "model.encoder."),
            (self.freeze_decoder, ("model.decoder.", "proj_out.")),
        )
        return not any(flag and name.startswith(prefix) for flag, prefix in frozen)


def parameter_groups(
    model: Any, weight_decay: float = 0.0, freezing: Freezing | None = None
) -> list[dict[str, Any]]:
    """Trained parameters for an optimiser, the decayed ones first.

    Biases and LayerNorms do not decay, nor does what is left of a frozen decoder.

    Args:
        model: ``WhisperForConditionalGeneration``.
        weight_decay: of the first group (published 0.0).
        freezing: what is frozen; must have been applied.
    """
    freezing = freezing or Freezing()
    norms = {
        f"{name}.{parameter}"
        for name, module in model.named_modules()
        if isinstance(module, nn.LayerNorm)
        for parameter, _ in module.named_parameters(recurse=False)
    }
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decays = name not in norms and "bias" not in name and freezing.decays(name)
            (decayed if decays else plain).append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
