"""Greedy labels of the stored teacher: tokens exactly, probabilities and entropies to 1e-5."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from golden_whisper import arrays, document, marks, teacher

from espnet_kd.whisper.generate import TransformersBackend
from espnet_kd.whisper.hypothesis import DecodingOptions, Hypothesis

pytestmark = marks

TOLERANCE = 1e-5


def decode() -> list[Hypothesis]:
    """Labels of the stored features, as many as there are stored ones."""
    greedy, bundle = document("losses")["greedy"], teacher()
    prefix = greedy["init_tokens"]
    options = DecodingOptions(max_label_length=len(prefix) + greedy["max_new_tokens"])
    specials = dataclasses.replace(bundle.specials, start=prefix[0], end=greedy["eos"])
    backend = TransformersBackend(bundle.model, specials, options)
    features = arrays("forward")["input_features"][: len(greedy["tokens"])]
    return backend.generate(backend.encode(features), [prefix] * len(features))


def test_greedy_labels_and_scores() -> None:
    greedy = document("losses")["greedy"]
    for row, hypothesis in enumerate(decode()):
        tokens, scores = greedy["tokens"][row], greedy["scores"][row]
        finished = tokens[-1] == greedy["eos"]
        assert hypothesis.finished == finished
        assert list(hypothesis.tokens) == (tokens[:-1] if finished else tokens)
        for own, stored in (
            (hypothesis.logprobs, greedy["token_logprobs"][row]),
            (hypothesis.entropies, greedy["token_entropies_nats"][row]),
        ):
            np.testing.assert_allclose(own, stored, rtol=0, atol=TOLERANCE)
        assert -hypothesis.avg_logprob == pytest.approx(scores["mean_nll"], abs=TOLERANCE)
        assert hypothesis.mean_entropy == pytest.approx(scores["mean_entropy_nats"], abs=TOLERANCE)
        confidence = np.exp(hypothesis.avg_logprob)
        assert confidence == pytest.approx(scores["confidence_geometric_mean"], abs=TOLERANCE)
