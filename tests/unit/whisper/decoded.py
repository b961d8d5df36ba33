"""Models to decode with, and the scores of a label from one parallel pass over it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from espnet_kd.whisper.features import log_mel
from espnet_kd.whisper.hypothesis import Hypothesis
from espnet_kd.whisper.load import WhisperBundle
from espnet_kd.whisper.timestamp_rules import TimestampRules
from tests.unit.whisper import tiny

SECONDS = 1


def babbling(**options: Any) -> WhisperBundle:
    """A random model, which never stops; it hears 1 s."""
    return tiny.tiny_bundle(max_source_positions=50 * SECONDS, seed=3, **options)


def stopping(**options: Any) -> WhisperBundle:
    """The same, but the end token is the likeliest wherever it is allowed."""
    bundle = babbling(**options)
    with torch.no_grad():
        decoder = bundle.model.model.decoder
        direction = torch.ones_like(decoder.layer_norm.bias)
        decoder.layer_norm.bias += direction
        decoder.embed_tokens.weight[bundle.specials.end] += direction
    return bundle


def noises(bundle: WhisperBundle, count: int = 3) -> Tensor:
    """Log-mel features (B, M, F) of noise."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(count, 16000 * SECONDS, generator=generator).numpy()
    return log_mel(bundle.feature_extractor, list(noise))


def rescored(
    bundle: WhisperBundle, features: Tensor, hypothesis: Hypothesis, *, timestamps: bool
) -> tuple[list[float], list[float]]:
    """ln p and entropy of each token and of the end token, suppression and rules applied.

    ``features`` (1, M, F) are the hypothesis's own.
    """
    end, begin = bundle.specials.end, len(hypothesis.prefix)
    config = bundle.model.generation_config
    label = torch.tensor([hypothesis.label(end)])
    with torch.no_grad():
        logits = bundle.model(features, decoder_input_ids=label).logits[0]
    rules = TimestampRules(
        begin_index=begin, end=end, timestamp_begin=bundle.specials.timestamp_begin,
        max_initial_timestamp=config.max_initial_timestamp_index,
    )  # fmt: skip
    logprobs, entropies = [], []
    for position in range(begin, label.shape[1]):
        scores = logits[position - 1][None].clone()
        scores[:, config.suppress_tokens] = -torch.inf
        if position == begin:
            scores[:, config.begin_suppress_tokens] = -torch.inf
        if timestamps:
            scores = rules(label[:, :position], scores)
        row = torch.distributions.Categorical(logits=scores.clamp_min(-1e30)[0])
        logprobs.append(float(row.log_prob(label[0, position])))
        entropies.append(float(row.entropy()))
    return logprobs, entropies
