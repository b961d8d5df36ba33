"""What an epoch will draw is computed before it, and nothing else."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler, WeightedRandomSampler

from s3prl_upstreams.cache import pools
from s3prl_upstreams.cache.crops import Places
from s3prl_upstreams.cache.exact import Selection
from s3prl_upstreams.cache.lookahead import LookAhead, coming_items
from s3prl_upstreams.cache.pooled import PooledUpstream
from s3prl_upstreams.cache.pools import random_numbers_kept
from s3prl_upstreams.cache.store import FeatureStore
from tests.unit.s3prl_upstreams.cache.toy import Toy, waves

SIZE = 20
SAMPLERS = {
    "balanced": lambda data: WeightedRandomSampler([10.0] * 3 + [1.0] * (SIZE - 3), SIZE),
    "shuffled": RandomSampler,
    "in order": SequentialSampler,
}


class Recordings(torch.utils.data.Dataset):
    """Waves of different lengths; counts what was read."""

    def __init__(self):
        self.read = []

    def __len__(self):
        return SIZE

    def __getitem__(self, index):
        self.read.append(index)
        return waves(30 + index, seed=index)[0].numpy(), index


class Head:
    """A task's expert."""

    def __init__(self, sampler, workers=0, drop_last=True):
        self.train_dataset = self.dataset = Recordings()
        self.sampler, self.workers, self.drop_last = sampler, workers, drop_last

    def get_dataloader(self, split):
        data = self.train_dataset
        sampler = SAMPLERS[self.sampler](data)
        more = {"num_workers": self.workers, "drop_last": self.drop_last, "collate_fn": list}
        return DataLoader(data, 3, sampler=sampler, **more)


def looking(head, most=None, memory=10**6):
    store = FeatureStore(None, memory)
    upstream = PooledUpstream(Toy(), Selection("hidden_states", 10), store).eval()
    limits = {} if most is None else {"train": most}
    return LookAhead(head, head.get_dataloader, upstream, Places(0), limits), upstream


def drawn(loader):
    return [index for batch in loader for _, index in batch]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_draws_are_foreseen_and_stay_the_same(sampler, workers):
    torch.manual_seed(3)
    stock = [drawn(Head(sampler, workers).get_dataloader("train")) for _ in range(2)]
    torch.manual_seed(3)
    head = Head(sampler, workers)
    ahead, upstream = looking(head)
    for epoch in stock:
        loader = ahead("train")
        before = sum(map(len, upstream.upstream.seen))
        assert drawn(loader) == epoch
        with torch.no_grad():
            upstream([torch.FloatTensor(loader.dataset[i][0]) for i in set(epoch)])
        assert sum(map(len, upstream.upstream.seen)) == before, "all of it was there"
    assert before == len(set(stock[0] + stock[1]))


def test_only_what_comes_is_read_and_only_once(capsys):
    torch.manual_seed(0)
    head = Head("balanced")
    ahead, _ = looking(head)
    coming = set(drawn(ahead("train")))
    assert len(coming) < SIZE
    assert sorted(head.dataset.read) == sorted(coming)
    assert "feature cache, train" in capsys.readouterr().err
    for _ in range(40):
        drawn(ahead("train"))
    assert sorted(head.dataset.read) == list(range(SIZE))
    assert head.train_dataset.complete


def test_a_short_training_takes_its_batches_alone():
    head = Head("in order")
    ahead, _ = looking(head, most=2)
    ahead("train")
    assert head.dataset.read == list(range(6))


def test_what_finds_no_place_is_not_tried_again():
    head = Head("in order")
    ahead, upstream = looking(head, memory=0)
    ahead("train")
    upstream.upstream.seen.clear()
    ahead("train")
    assert upstream.upstream.seen == []


def test_without_place_the_rest_waits_until_it_comes(monkeypatch):
    monkeypatch.setattr(pools, "POOL_SECONDS", 150 / 16000)
    head = Head("in order")
    ahead, upstream = looking(head, memory=0)
    (loader, again) = ahead("train"), ahead("train")
    computed = sum(map(len, upstream.upstream.seen))
    assert 0 < computed < SIZE // 2
    assert sorted(head.dataset.read) == list(range(computed))
    assert drawn(loader) == drawn(again) == list(range(18))


def test_random_numbers_are_those_of_a_run_without_it():
    torch.manual_seed(1)
    random.seed(1)
    loader = Head("shuffled").get_dataloader("train")
    with random_numbers_kept():
        found = coming_items(loader)
    state = torch.get_rng_state()
    assert found == drawn(loader)
    assert not torch.equal(state, torch.get_rng_state())


def test_other_loaders_and_their_errors_pass():
    loader = DataLoader(Recordings(), 2)
    head = SimpleNamespace(train_dataset=None, get_dataloader=lambda split: loader)
    ahead, _ = looking(head)
    assert ahead("train") is loader
    with pytest.raises(TypeError, match="unexpected keyword argument 'epoch'"):
        ahead("train", epoch=1)  # by this text S3PRL finds out that a task does not take it
