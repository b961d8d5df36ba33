"""A model's view of a training batch: hidden states, and logits where there is a label.

Positions without a label (padding, prompt) never reach the projection onto the vocabulary, which
is the largest product of a small student.

Shapes: B batch, M mel bins, F feature frames, E encoder positions, T tokens, D width, V vocabulary,
N positions that have a label.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Pass:
    """What one model makes of a batch."""

    logits_NV: Tensor
    """Row by row, the positions that have a label."""

    encoder_BED: Tensor
    """Last encoder states."""

    decoder_BTD: Tensor
    """Last decoder states."""

    encoder_states: tuple[Tensor, ...] | None = None
    """All of the encoder (B, E, D), where asked for and the encoder ran."""

    decoder_states: tuple[Tensor, ...] | None = None
    """All of the decoder (B, T, D), where asked for."""


def look(
    model: Any,
    tokens_BT: Tensor,
    labelled_BT: Tensor,
    *,
    features_BMF: Tensor | None = None,
    encoder_BED: Tensor | None = None,
    hidden_states: bool = False,
) -> Pass:
    """Run encoder (unless its states are given), decoder and projection.

    Args:
        model: ``WhisperForConditionalGeneration``.
        tokens_BT: decoder input.
        labelled_BT: True where there is a label.
        features_BMF: log-mel features; a model that augments them writes into them.
        encoder_BED: encoder states, in place of features.
        hidden_states: keep the states of all layers.
    """
    given = None if encoder_BED is None else (encoder_BED,)
    output = model.model(
        input_features=features_BMF,
        encoder_outputs=given,
        decoder_input_ids=tokens_BT,
        use_cache=False,
        output_hidden_states=hidden_states,
        return_dict=True,
    )
    return Pass(
        logits_NV=model.proj_out(output.last_hidden_state[labelled_BT]),
        encoder_BED=output.encoder_last_hidden_state,
        decoder_BTD=output.last_hidden_state,
        encoder_states=output.encoder_hidden_states,
        decoder_states=output.decoder_hidden_states,
    )
