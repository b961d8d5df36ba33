"""What is asked of the cache, on the command line."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from espnet_kd.errors import ConfigError
from s3prl_upstreams.cache.attach import RunCache
from s3prl_upstreams.cache.options import CacheOptions
from s3prl_upstreams.invocation import Invocation


def parse(*words):
    return Invocation.parse(["-m", "train", *words, "-x"], environ={})


def test_off_by_default_and_nothing_reaches_s3prl():
    words = ["--feature_cache", "pooled", "--feature_cache_dir", "D", "--feature_cache_gb", "3"]
    words += ["--feature_cache_dtype", "float16", "--feature_cache_crops", "4"]
    call = parse(*words, "--feature_cache_prefill", "--feature_memory", "0.5")
    assert call.cache == CacheOptions("pooled", "D", 3.0, 0.5, "float16", 4, True)
    assert call.argv() == ["-m", "train", "-x"]
    assert not parse().cache.on


def test_memory_alone_means_exact_and_no_files():
    cache = parse("--feature_memory", "2").cache
    assert (cache.mode, cache.in_experiment("exp").folder) == ("exact", None)
    call = parse("--feature_cache", "exact", "-p", "exp").completed(config=None, device="cpu")
    assert call.within("fold1").cache.folder == str(Path("exp/feature_cache"))
    assert call.evaluation(Path("exp/x.ckpt")).cache == call.cache
    assert parse("--feature_cache", "off", "--feature_memory", "2").cache.mode == "off"


def test_all_problems_come_at_once():
    words = ["--feature_cache", "some", "--feature_cache_dtype", "int8", "--feature_cache_gb", "0"]
    with pytest.raises(ConfigError) as error:
        parse(*words, "--feature_cache_crops", "2", "--feature_memory", "-1")
    assert len(error.value.problems) == 5
    assert "choose off, exact, isolated, pooled, auto" in str(error.value)


@pytest.mark.parametrize("word", ["--feature_cache_dir=D", "--feature_cache_dtype=float16"])
def test_options_of_a_cache_that_is_off_are_refused(word):
    name, value = word.split("=")
    with pytest.raises(ConfigError, match=f"{name}: name a mode, --feature_cache auto"):
        parse(name, value)
    assert not parse("--feature_cache", "off", name, value).cache.on
    assert parse("--feature_memory", "1", "--feature_cache_dir", "D").cache.on


@pytest.mark.parametrize(
    ("mode", "task", "crops", "kept"),
    [
        ("exact", "emotion", 0, ()),
        ("exact", "asr", 0, (5, 8)),
        ("isolated", "sv_voxceleb1", 0, (5,)),
        ("isolated", "sv_voxceleb1", 2, (5, 8)),
        ("pooled", "voxceleb1", 0, (5, 8)),
    ],
)
def test_what_may_come_again(mode, task, crops, kept):
    head = torch.nn.Linear(1, 1)
    head.train_dataset = SimpleNamespace(max_timestep=8)
    cache = RunCache(CacheOptions(mode, crops=crops), ExitStack())
    comes_again = cache._comes_again(task, head)
    assert tuple(filter(comes_again, (5, 8))) == kept
    head.eval()
    assert comes_again(5)
    assert comes_again(8)


def test_exact_does_not_round():
    with pytest.raises(ConfigError, match="float16 rounds features and exact keeps them"):
        parse("--feature_cache", "exact", "--feature_cache_dtype", "float16")


def test_auto_takes_what_suits_the_task():
    cache = parse("--feature_cache", "auto", "--feature_cache_dtype", "float16").cache
    assert cache.for_task("ctc", linear=False) == replace(cache, mode="isolated")
    assert cache.for_task("emotion", linear=True) == replace(cache, mode="pooled")
    assert cache.for_task("asr", linear=False) == replace(cache, mode="exact", dtype="float32")
    assert CacheOptions("exact").for_task("emotion", linear=True).mode == "exact"
