"""Tickets pass for waves, and are good for features even when the store has lost them."""

from __future__ import annotations

import copy
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from s3prl_upstreams.cache.crops import Places
from s3prl_upstreams.cache.exact import Selection
from s3prl_upstreams.cache.keys import wave_key
from s3prl_upstreams.cache.lookahead import LookAhead
from s3prl_upstreams.cache.pooled import PooledUpstream
from s3prl_upstreams.cache.store import FeatureStore
from s3prl_upstreams.cache.tickets import TicketDataset, make_ticket, read_ticket
from tests.unit.s3prl_upstreams.cache.toy import Toy, waves


class Recordings(torch.utils.data.Dataset):
    """Four waves; those longer than 50 samples are cut. Counts what was read."""

    weights = (1.0, 2.0)

    def __init__(self, places):
        self.places, self.read = places, []

    def __len__(self):
        return 4

    def __getitem__(self, index):
        self.read.append(index)
        (wav,) = waves(30 + 20 * index, seed=index)
        if len(wav) > 50:
            start = self.places.randint(0, len(wav) - 50)
            wav = wav[start : start + 50]
        return wav.numpy(), index, f"name{index}"

    def __getitems__(self, indexes):
        raise AssertionError("torch must not pass the tickets by")


@pytest.mark.parametrize("samples", [0, 5, 2**20 - 1, 2**20, 50_000_001])
def test_a_ticket_is_read_as_it_was_written(samples):
    key = wave_key(torch.ones(3))
    ticket = torch.FloatTensor(make_ticket(key, samples))
    assert read_ticket(ticket) == (key, samples)
    for wav in (torch.zeros(len(ticket)), ticket[:-1], torch.zeros(0)):
        assert read_ticket(wav) is None


def filled(count, memory=10**6):
    places = Places(count)
    dataset = Recordings(places)
    upstream = PooledUpstream(Toy(), Selection("hidden_states", 10), FeatureStore(None, memory))
    head = SimpleNamespace(train_dataset=dataset)

    def get_dataloader(split):
        return torch.utils.data.DataLoader(getattr(head, f"{split}_dataset"))

    LookAhead(head, get_dataloader, upstream.eval(), places, {})("train")
    return dataset, head.train_dataset, upstream


def given(upstream, items):
    with torch.no_grad():
        wavs = [torch.FloatTensor(item[0]) for item in items]
        return torch.stack(upstream(wavs)["hidden_states"])


def test_nothing_is_read_or_computed_again(capsys):
    dataset, known, upstream = filled(2)
    dataset.read.clear()
    upstream.upstream.seen.clear()
    loader = torch.utils.data.DataLoader(known, 4, collate_fn=list)
    (items,) = loader
    assert [item[1:] for item in items] == [(i, f"name{i}") for i in range(4)]
    means = given(upstream, items)
    assert dataset.read == upstream.upstream.seen == []
    assert means.shape == (2, 4, 1, 3)
    torch.testing.assert_close(means[:, :2], given(upstream, [dataset[0], dataset[1]]))
    assert known.weights == dataset.weights
    assert copy.copy(known).known is known.known
    assert "feature cache, train" in capsys.readouterr().err


def test_all_places_come_up():
    _, known, _ = filled(3)
    random.seed(0)
    assert len({known[3][0].tobytes() for _ in range(50)}) == 3
    assert len({known[1][0].tobytes() for _ in range(5)}) == 1


def test_what_is_cut_anywhere_is_read_each_time():
    dataset, known, _ = filled(0)
    dataset.read.clear()
    assert len({known[3][0].tobytes() for _ in range(5)}) == 5
    assert [len(known[i][0]) for i in (0, 1)] == [35, 35]
    assert dataset.read == [3] * 5


def test_without_place_in_the_store_there_are_no_tickets():
    _, known, _ = filled(2, memory=0)
    assert known.known == {0: [], 1: [], 2: [], 3: []}
    assert np.array_equal(known[0][0], waves(30)[0].numpy())


def test_a_lost_entry_is_computed_from_the_recording():
    _, known, upstream = filled(2)
    before = given(upstream, [known[0], known[2]])
    places = [random.seed(0), known[3]][1]
    wanted = given(upstream, [places])
    upstream.store._memory.clear()
    assert torch.equal(given(upstream, [known[0], known[2]])[:, 0], before[:, 0])
    assert torch.equal(given(upstream, [places]), wanted)
    assert upstream.tally.misses == 3


def test_torch_finds_no_way_around():
    assert not hasattr(TicketDataset(Recordings(Places(0))), "__getitems__")
