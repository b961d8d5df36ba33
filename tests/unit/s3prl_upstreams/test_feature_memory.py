"""Features of a batch that comes again are taken from memory, and only where they are the same."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from s3prl_upstreams.feature_memory import RememberingUpstream, batch_key, remember_features


class Upstream(nn.Module):
    """Counts its passes; two hidden states of 4 frames, width 2."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.passes = 0

    def get_downsample_rates(self, key):
        return 320

    def forward(self, wavs):
        self.passes += 1
        x_B1 = torch.stack([wav.sum() for wav in wavs])[:, None, None]
        states = [x_B1 * self.weight + k + torch.zeros(len(wavs), 4, 2) for k in range(2)]
        return {"hidden_states": states, "last_hidden_state": states[-1]}


BYTES = 2 * 4 * 2 * 2 * 4  # of two utterances: two states, the last one is named twice


def batch(seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(size, generator=generator) for size in (10, 7)]


def remembering(budget: int) -> RememberingUpstream:
    return RememberingUpstream(Upstream(), budget).eval()


@torch.no_grad()
def test_a_batch_is_computed_once():
    upstream = remembering(10 * BYTES)
    first = upstream(batch(0))
    first["hidden_states_of_the_caller"] = None
    again = upstream(batch(0))
    assert upstream.upstream.passes == 1
    assert set(again) == {"hidden_states", "last_hidden_state"}
    assert all(map(torch.equal, again["hidden_states"], first["hidden_states"]))
    assert not torch.equal(upstream(batch(1))["last_hidden_state"], first["last_hidden_state"])
    assert upstream.get_downsample_rates("hidden_states") == 320


@torch.no_grad()
def test_the_budget_is_kept():
    upstream = remembering(2 * BYTES)
    for seed in (0, 1, 2, 0, 1, 2):
        upstream(batch(seed))
    assert upstream.left == 0
    assert upstream.upstream.passes == 4  # the third batch twice


def test_gradients_and_dropout_are_never_remembered():
    upstream = remembering(10 * BYTES)
    upstream(batch(0))["last_hidden_state"].sum().backward()
    upstream.train()
    with torch.no_grad():
        upstream(batch(0))
        upstream(batch(0))
    assert upstream.upstream.passes == 3
    assert upstream.upstream.weight.grad is not None


def test_a_batch_is_known_by_samples_and_lengths():
    waves = [torch.zeros(4), torch.zeros(2)]
    assert batch_key(waves) == batch_key([torch.zeros(4), torch.zeros(2)])
    for other in ([torch.zeros(2), torch.zeros(4)], [torch.zeros(6)], [*waves, torch.zeros(0)]):
        assert batch_key(other) != batch_key(waves)
    assert batch_key([torch.zeros(8).half()]) != batch_key([torch.zeros(4)])


@pytest.mark.parametrize(
    ("mode", "trainable", "gigabytes", "remembers"),
    [
        ("train", False, 1.0, True),
        ("train", True, 1.0, False),
        ("evaluate", False, 1.0, False),
        ("train", False, 0.0, False),
    ],
)
def test_only_a_frozen_upstream_in_training_remembers(mode, trainable, gigabytes, remembers):
    entry = SimpleNamespace(model=Upstream(), trainable=trainable)
    runner = SimpleNamespace(args=SimpleNamespace(mode=mode))
    wrapped = remember_features(lambda _runner: entry, gigabytes)(runner)
    assert isinstance(wrapped.model, RememberingUpstream) == remembers
