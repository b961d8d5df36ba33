"""Means over time give S3PRL's heads the same logits and gradients."""

from __future__ import annotations

from argparse import Namespace

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from s3prl_upstreams.cache.exact import Selection
from s3prl_upstreams.cache.pooled import PooledUpstream, pooling_problems, take_single_frames
from tests.unit.s3prl_upstreams.cache.toy import Toy, waves


class Featurizer(nn.Module):
    """The weighted sum and the cutting of S3PRL's."""

    def __init__(self, layers):
        super().__init__()
        self.weights = nn.Parameter(torch.linspace(-1.0, 1.0, layers))

    def tolist(self, wavs, feature_BTD):
        return [f[: round(len(wav) / 320)] for f, wav in zip(feature_BTD, wavs, strict=True)]

    def forward(self, wavs, features):
        states = torch.stack(features["hidden_states"])
        return self.tolist(wavs, torch.einsum("n,nbtd->btd", self.weights.softmax(0), states))


class Head(nn.Module):
    """Projector, mean, linear."""

    def __init__(self, width):
        super().__init__()
        self.projector, self.out = nn.Linear(width, 7), nn.Linear(7, 4)

    def forward(self, features):
        padded = self.projector(pad_sequence(features, batch_first=True))
        means = [row[: len(f)].mean(0) for row, f in zip(padded, features, strict=True)]
        return self.out(torch.stack(means))


def gradients(upstream, wavs, pooled):
    """Logits, and the gradients of weighted sum and head."""
    with torch.no_grad():
        features = upstream(wavs)
    torch.manual_seed(0)
    head, featurizer = Head(features["hidden_states"][0].size(-1)), None
    featurizer = Featurizer(len(features["hidden_states"]))
    if pooled:
        take_single_frames(featurizer)
    logits = head(featurizer(wavs, features))
    nn.functional.cross_entropy(logits, torch.arange(len(wavs)) % 4).backward()
    parameters = [*featurizer.parameters(), *head.parameters()]
    return logits, [p.grad for p in parameters]


@pytest.mark.parametrize("sizes", [(16000, 8000, 12345, 7777), (16000, 16000), (9000,)])
def test_logits_and_gradients_are_those_of_all_frames(students, store, sizes):
    stock = students["layer_norm"]
    upstream = PooledUpstream(stock, Selection(), store).eval()
    wavs = waves(*sizes)
    for _ in range(2):
        logits, grads = gradients(upstream, wavs, pooled=True)
        wanted, wanted_grads = gradients(stock, wavs, pooled=False)
        torch.testing.assert_close(logits, wanted, atol=1e-6, rtol=0)
        for grad, other in zip(grads, wanted_grads, strict=True):
            torch.testing.assert_close(grad, other, atol=1e-6, rtol=1e-5)
    assert upstream.tally.hits == upstream.tally.misses == len(sizes)


@torch.no_grad()
def test_it_is_small(store):
    upstream = PooledUpstream(Toy(), Selection("hidden_states", 10), store).eval()
    states = upstream(waves(500, 30))["hidden_states"]
    assert [state.shape for state in states] == [(2, 1, 3)] * 2
    assert store.disk.get(next(iter(store.disk._places))).nbytes == 2 * 3 * 4


def args(**changes):
    return Namespace(**{"downstream": "emotion", "upstream_feature_normalize": False, **changes})


def config(head=None, **changes):
    model = {"projector_dim": 256, "select": "UtteranceLevel", "UtteranceLevel": head or {}}
    return {"downstream_expert": {"modelrc": {**model, **changes}}}


def test_a_linear_head_is_told_from_others():
    assert pooling_problems(args(), config({"pooling": "MeanPooling"})) == []
    assert pooling_problems(args(), config(UtteranceLevel=None)) == []
    attentive = config({"pooling": "AttentivePooling", "pre_net": {"select": "FrameLevel"}})
    attentive["specaug"] = {"apply_time_mask": True}
    assert len(pooling_problems(args(upstream_feature_normalize=True), attentive)) == 4
    assert "not UtteranceLevel" in pooling_problems(args(), config(select="DeepModel"))[0]
    assert "only SID, KS, IC and ER" in pooling_problems(args(downstream="asr"), config())[0]
