"""Greedy labels of the stored teacher: tokens exactly, probabilities and entropies to 1e-5."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from golden_cases import golden_root, params
from safetensors.torch import load_file

from espnet_kd.whisper.generate import TransformersBackend
from espnet_kd.whisper.hypothesis import DecodingOptions, Hypothesis
from espnet_kd.whisper.specials import SpecialIds

pytestmark = pytest.mark.golden

SYSTEM = "whisper"
TOLERANCE = 1e-5


def cases() -> list[tuple[str, tuple[Any, ...]]]:
    """(id, (file name,)) of every ``losses*.json`` with greedily decoded labels."""
    return [
        (path.stem, (path.name,))
        for path in sorted((golden_root() / SYSTEM).glob("losses*.json"))
        if "greedy" in json.loads(path.read_text("utf-8"))
    ]


def teacher() -> Any:
    """The stored teacher, its output projection tied to its embedding."""
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    folder = golden_root() / SYSTEM
    stored = json.loads((folder / "teacher_config.json").read_text("utf-8"))
    config = WhisperConfig(**stored["whisper_config"])
    model = WhisperForConditionalGeneration._from_config(config, attn_implementation="eager")
    state = load_file(folder / "teacher.safetensors")
    state["proj_out.weight"] = state["model.decoder.embed_tokens.weight"]
    model.load_state_dict(state, strict=True)
    return model.eval()


def decode(greedy: dict[str, Any]) -> list[Hypothesis]:
    prefix = greedy["init_tokens"]
    specials = SpecialIds(
        start=prefix[0], end=greedy["eos"], transcribe=-1, translate=-1, startofprev=-1,
        nospeech=-1, notimestamps=prefix[-1], timestamp_begin=10**6, languages={},
        is_multilingual=True,
    )  # fmt: skip
    length = len(prefix) + greedy["max_new_tokens"]
    backend = TransformersBackend(teacher(), specials, DecodingOptions(max_label_length=length))
    with np.load(golden_root() / SYSTEM / "forward.npz") as stored:
        features = torch.from_numpy(stored["input_features"])
    features = features[: len(greedy["tokens"])]
    return backend.generate(backend.encode(features), [prefix] * len(features))


@pytest.mark.parametrize("name", params(SYSTEM, cases()))
def test_greedy_labels_and_scores(name: str) -> None:
    greedy = json.loads((golden_root() / SYSTEM / name).read_text("utf-8"))["greedy"]
    for row, hypothesis in enumerate(decode(greedy)):
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
        assert hypothesis.mean_entropy == pytest.approx(
            scores["mean_entropy_nats"], abs=TOLERANCE
        )
        confidence = np.exp(hypothesis.avg_logprob)
        assert confidence == pytest.approx(scores["confidence_geometric_mean"], abs=TOLERANCE)
