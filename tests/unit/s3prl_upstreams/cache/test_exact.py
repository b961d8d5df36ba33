"""A batch that comes again is computed once, and only where its features are the same."""

from __future__ import annotations

import pytest
import torch

from espnet_kd.errors import KDError
from s3prl_upstreams.cache.exact import CachingUpstream, Selection
from s3prl_upstreams.cache.shards import ShardFolder
from s3prl_upstreams.cache.store import FeatureStore
from tests.unit.s3prl_upstreams.cache.toy import Toy, waves

BYTES = 2 * 2 * 2 * 3 * 4  # two states, two waves, two frames, width 3


def caching(store, upstream=None, layer=None):
    return CachingUpstream(upstream or Toy(), Selection("hidden_states", 10, layer), store).eval()


@torch.no_grad()
def test_a_batch_is_computed_once(store):
    upstream = caching(store)
    batch = waves(27, 19)
    stock = Toy()(batch)["hidden_states"]
    for _ in range(3):
        states = upstream(batch)["hidden_states"]
        assert isinstance(states, list)
        assert all(map(torch.equal, states, stock))
    assert upstream.upstream.seen == [[27, 19]]
    upstream(waves(27, 19, seed=1))
    assert (upstream.tally.hits, upstream.tally.misses) == (2, 2)
    assert upstream.get_downsample_rates("hidden_states") == 10
    assert "exact: 2 hits, 2 misses, " in upstream.say()


@torch.no_grad()
def test_memory_is_kept_within_its_budget():
    upstream = caching(FeatureStore(None, 2 * BYTES))
    for seed in (0, 1, 2, 0, 1, 2):
        upstream(waves(27, 19, seed=seed))
    assert upstream.store.memory_left == 0
    assert len(upstream.upstream.seen) == 4, "the third batch twice"


@torch.no_grad()
def test_the_next_run_finds_what_this_one_kept(tmp_path):
    batch = waves(27, 19)
    for expected in ([[27, 19]], []):
        upstream = caching(FeatureStore(ShardFolder(tmp_path / "a" / "b", 10**6), 10**6))
        states = upstream(batch)["hidden_states"]
        assert upstream.upstream.seen == expected
        assert all(map(torch.equal, states, Toy()(batch)["hidden_states"]))
        upstream(batch)
        upstream.store.close()


@torch.no_grad()
@pytest.mark.parametrize(("single", "layer"), [(True, None), (False, 1)])
def test_a_task_may_write_into_what_it_gets(store, single, layer):
    store.memory_left = 10**6
    upstream = caching(store, Toy(single=single), layer)
    batch = waves(27, 19)
    stock = Toy(single=single)(batch)["hidden_states"]
    for _ in range(3):
        states = upstream(batch)["hidden_states"]
        assert isinstance(states, torch.Tensor) == single
        assert torch.equal(states[-1], stock[-1])
        states[-1].zero_()


def test_training_is_refused(store):
    upstream = caching(store)
    with pytest.raises(KDError, match="wants gradients"):
        upstream(waves(30))
    upstream.train()
    with torch.no_grad(), pytest.raises(KDError, match="in train mode"):
        upstream(waves(30))
    assert upstream.upstream.seen == []


class Uneven(Toy):
    def forward(self, wavs):
        states = super().forward(wavs)["hidden_states"]
        return {"hidden_states": [states[0], states[1][:, ::2]]}


@torch.no_grad()
def test_layers_of_different_shapes_are_refused(store):
    with pytest.raises(KDError, match="layers of different shapes"):
        caching(store, Uneven())(waves(30))
