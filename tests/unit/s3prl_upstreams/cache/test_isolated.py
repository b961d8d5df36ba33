"""Utterances are computed once and put together as the upstream would have done."""

from __future__ import annotations

import pytest
import torch

from s3prl_upstreams.cache.exact import Selection
from s3prl_upstreams.cache.isolated import IsolatedUpstream
from s3prl_upstreams.cache.padding import group_waves, padding_is_harmless
from s3prl_upstreams.cache.store import FeatureStore
from tests.unit.s3prl_upstreams.cache.toy import Toy, waves

LENGTHS = [(16000, 16000), (16000, 8000, 12345, 7777), (9000,), (16100, 15900, 16240, 500)]


def isolated(store, upstream, rate=320):
    return IsolatedUpstream(upstream, Selection("hidden_states", rate), store).eval()


def taken_by_s3prl(features, wavs, rate=320):
    """What its featurizer hands on: (layers, frames, width) of each wave."""
    states = torch.stack(list(features["hidden_states"]))
    assert abs(states.size(2) - round(max(map(len, wavs)) / rate)) < 5
    return [states[:, row, : round(len(wav) / rate)] for row, wav in enumerate(wavs)]


def test_padding_is_found_out(students):
    assert padding_is_harmless(students["layer_norm"], "cpu")
    assert not padding_is_harmless(students["group_norm"], "cpu")
    assert not padding_is_harmless(Toy(), "cpu"), "none of ours"


@torch.no_grad()
@pytest.mark.parametrize("sizes", LENGTHS)
def test_where_padding_is_harmless_nothing_changes(students, store, sizes):
    """Frame by frame, the number of frames and the frame of padding included."""
    upstream = isolated(store, students["layer_norm"])
    wavs = waves(*sizes)
    upstream(wavs[:1])
    upstream(wavs[::-1])
    given = taken_by_s3prl(upstream(wavs), wavs)
    stock = taken_by_s3prl(students["layer_norm"](wavs), wavs)
    for ours, theirs in zip(given, stock, strict=True):
        assert ours.shape == theirs.shape
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4)
    assert upstream.tally.misses == len(wavs)
    assert upstream.describe() == "isolated, equal up to rounding"


@torch.no_grad()
def test_with_group_norm_an_utterance_counts_as_if_alone(students, store):
    upstream, wavs = isolated(store, students["group_norm"]), waves(16000, 8000, 16000)
    given = taken_by_s3prl(upstream(wavs), wavs)
    stock = taken_by_s3prl(students["group_norm"](wavs), wavs)
    alone = torch.stack(students["group_norm"](wavs[1:2])["hidden_states"])[:, 0]
    torch.testing.assert_close(given[0], stock[0], atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(given[2], stock[2], atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(given[1][:, : alone.size(1)], alone, atol=2e-5, rtol=1e-4)
    assert given[1].shape == stock[1].shape
    assert torch.equal(given[1][:, -1], given[1][:, -2]), "the last frame in place of padding"
    assert upstream.describe() == "isolated, comparable"


@torch.no_grad()
def test_other_upstreams_are_computed_by_lengths(store):
    upstream = isolated(store, Toy(), rate=10)
    wavs = waves(50, 30, 50, 30, 20)
    given = taken_by_s3prl(upstream([*wavs, wavs[0]]), wavs, rate=10)
    assert upstream.upstream.seen == [[50, 50], [30, 30], [20]]
    assert (upstream.tally.hits, upstream.tally.misses) == (1, 5)
    stock = taken_by_s3prl(Toy()(wavs), wavs, rate=10)
    assert all(map(torch.equal, given, stock))


@torch.no_grad()
def test_half_precision_is_near(students, tmp_path):
    upstream = isolated(FeatureStore(None, 10**8, torch.float16), students["layer_norm"])
    wavs = waves(9000, 8000)
    first = taken_by_s3prl(upstream(wavs), wavs)
    again = taken_by_s3prl(upstream(wavs), wavs)
    for a, b in zip(first, again, strict=True):
        assert a.dtype == b.dtype == torch.float32
        assert torch.equal(a, b), "an epoch is not to depend on where a run was resumed"
    exact = taken_by_s3prl(isolated(FeatureStore(None, 0), students["layer_norm"])(wavs), wavs)
    for a, b in zip(first, exact, strict=True):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3)
    assert not torch.equal(first[0], exact[0])


@torch.no_grad()
def test_half_precision_leaves_alone_what_it_cannot_hold(capsys):
    upstream = isolated(FeatureStore(None, 10**8, torch.float16), Toy(scale=1e9), rate=10)
    wavs = waves(50)
    for _ in range(2):
        (given,) = taken_by_s3prl(upstream(wavs), wavs, rate=10)
        assert torch.equal(given, taken_by_s3prl(Toy(scale=1e9)(wavs), wavs, rate=10)[0])
    assert capsys.readouterr().err.count("are kept as torch.float32") == 1


@torch.no_grad()
def test_what_cannot_come_again_takes_no_place(store):
    upstream = isolated(store, Toy(), rate=10)
    upstream.comes_again = lambda samples: samples != 30
    for _ in range(2):
        upstream(waves(50, 30))
    upstream.fill(waves(30, 70))
    assert upstream.upstream.seen == [[50], [30], [30], [70]]
    assert len(store.disk) == 2


def test_batches_are_within_their_size():
    lengths = [5, 9, 5, 3, 5, 40, 9]
    mixed = list(group_waves(lengths, 20, mixed=True, rate=1))
    assert [[lengths[i] for i in group] for group in mixed] == [[40], [9, 9], [5, 5, 5, 3]]
    equal = list(group_waves(lengths, 10, mixed=False, rate=1))
    assert [[lengths[i] for i in group] for group in equal] == [[40], [9], [9], [5, 5], [5], [3]]
    assert list(group_waves([], 10, mixed=True)) == []
