"""From configuration and weights under our names to a model: the last step of every format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from espnet_kd.encoder.config import SpeechEncoderConfig
from espnet_kd.encoder.model import SpeechEncoder
from espnet_kd.utils.weights import check_fit


def build_encoder(
    config: SpeechEncoderConfig,
    state: Mapping[str, Tensor],
    source: str,
    overrides: Mapping[str, Any],
) -> SpeechEncoder:
    """An encoder in eval mode with exactly ``state`` as its weights.

    ``overrides`` change configuration fields; ``head_dim=0`` drops the projection heads.

    Raises:
        CheckpointError: weights that do not fit.
        ConfigError: overrides that do not exist or make no sense.
    """
    if overrides.get("head_dim") == 0 and config.head_dim:
        state = {name: tensor for name, tensor in state.items() if not name.startswith("heads.")}
        if config.hidden_states == "heads":
            overrides = {"hidden_states": "layers", **overrides}
    if overrides:
        config = config.replace(**overrides)
    with torch.device("meta"):
        skeleton = SpeechEncoder(config)
    check_fit(skeleton, state, source)  # before memory is taken for what may not fit
    model = skeleton.to_empty(device="cpu")
    model.load_state_dict(dict(state), strict=True)
    return model.float().eval()
