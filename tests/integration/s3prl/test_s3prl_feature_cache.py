"""The feature cache in real runs: same weights, fewer passes of the upstream."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from espnet_kd.errors import ConfigError
from s3prl_upstreams.run_downstream import run
from tests.integration.s3prl.test_s3prl_run_downstream import EXPERT, read_states, steps

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def words(task, student, corpora, exp, *more):
    known = ["-u", "kd_student", "-k", str(student), "-d", task, "--data", str(corpora)]
    return [*known, "-p", exp, *more]


def cached(mode, *more):
    return ["--feature_cache", mode, "--feature_cache_dir", "cache", *more]


def weights(exp, number):
    states = read_states(f"{exp}/states-{number}.ckpt")
    named = {**states["Downstream"], **{f"f.{k}": v for k, v in states["Featurizer"].items()}}
    return named, states


def test_exact_changes_no_bit_and_the_next_run_computes_nothing(
    corpora, student, waves_seen, capsys
):
    options = steps("asr", 8, ",,config.runner.eval_step=4")
    train = ["-m", "train", *options]
    run([*words("asr", student, corpora, "stock"), *train])
    passes = [len(waves_seen)]
    for exp in ("first", "second"):
        waves_seen.clear()
        run([*words("asr", student, corpora, exp), *train, *cached("exact")])
        passes.append(len(waves_seen))
    # Four batches of training and two of dev once; the featurizer's probe always.
    assert passes[1] == 7 < passes[0]
    assert passes[2] == 1
    stock, _ = weights("stock", 8)
    for exp in ("first", "second"):
        ours, states = weights(exp, 8)
        assert ours.keys() == stock.keys()
        assert all(torch.equal(ours[name], stock[name]) for name in stock)
        assert states["Args"].feature_cache == "stock"
    assert "feature cache: exact: 12 hits, 0 misses" in capsys.readouterr().err


def test_pooled_learns_the_same_and_stays_a_stock_checkpoint(
    corpora, layer_norm_student, waves_seen, capsys
):
    options = steps("sid", 20, ",,config.optimizer.lr=0.05,,config.runner.eval_step=10")
    options[1] += f",,{EXPERT}.datarc.eval_batch_size=2"
    (stock_score,) = run([*words("sid", layer_norm_student, corpora, "stock"), *options])
    waves_seen.clear()
    (score,) = run(
        [*words("sid", layer_norm_student, corpora, "pooled"), *options, *cached("pooled")]
    )
    # Each file once; in either mode the featurizer's probe and the one of padding.
    assert sum(map(len, waves_seen)) == 8 + 2 * (1 + 3)
    assert score.value == stock_score.value
    assert score.features == "pooled, equal up to rounding"
    assert json.loads(Path("pooled/score.json").read_text())["features"] == score.features
    (stock, _), (ours, states) = weights("stock", 20), weights("pooled", 20)
    for name, weight in stock.items():
        torch.testing.assert_close(ours[name], weight, atol=2e-4, rtol=1e-3)
    assert states["Args"].feature_cache == score.features
    # Evaluated by S3PRL's frames: the same predictions.
    pooled_lines = Path("pooled/test_predict.txt").read_text()
    (again,) = run(["-m", "evaluate", "-e", score.checkpoint])
    assert again.value == score.value
    assert Path("pooled/test_predict.txt").read_text() == pooled_lines
    assert again.features == "pooled, equal up to rounding (training), stock (evaluation)"
    assert "padding does not change this model's features" in capsys.readouterr().err


def test_isolated_learns_the_same_where_padding_is_harmless(
    corpora, layer_norm_student, waves_seen, capsys
):
    options = ["-m", "train", *steps("pr", 6)]
    options[-1] += f",,{EXPERT}.corpus.batch_size=2"
    run([*words("pr", layer_norm_student, corpora, "stock"), *options])
    waves_seen.clear()
    run([*words("pr", layer_norm_student, corpora, "isolated"), *options, *cached("isolated")])
    assert sum(map(len, waves_seen)) <= 6 + 1 + 3, "each file once, and the probes"
    before = ["--feature_cache_prefill", "--feature_memory", "0.1", *options]
    run(
        [
            *words("pr", layer_norm_student, corpora, "before"),
            *before,
            "--feature_cache",
            "isolated",
        ]
    )
    assert ", 0 misses, 6 filled before, " in capsys.readouterr().err
    stock, _ = weights("stock", 6)
    for exp in ("isolated", "before"):
        ours, _ = weights(exp, 6)
        for name, weight in stock.items():
            torch.testing.assert_close(ours[name], weight, atol=1e-3, rtol=1e-3)


def test_another_student_meets_nothing_stale(corpora, student, layer_norm_student, capsys):
    options = [*steps("sid", 2), *cached("pooled", "--feature_cache_dtype", "float16")]
    run([*words("sid", student, corpora, "one"), *options])
    said = capsys.readouterr().err
    assert "comparable to stock, not identical" in said
    assert "rounded to float16" in said
    options[options.index("pooled")] = "auto"
    (score,) = run([*words("sid", layer_norm_student, corpora, "two"), *options])
    assert score.features == "pooled, equal up to rounding, float16"
    assert "pooled: 0 hits" not in capsys.readouterr().err, "dev and test come twice"
    assert len(list(Path("cache").iterdir())) == 2
    (first, _), (second, _) = weights("one", 2), weights("two", 2)
    assert any(not torch.equal(first[name], second[name]) for name in first)


def test_crops_at_fixed_places_are_computed_once_and_before(
    corpora, layer_norm_student, waves_seen, capsys
):
    """Recordings of 12800 samples, cut to 8000 at two places."""
    options = steps("sid", 12, f",,{EXPERT}.datarc.max_timestep=8000")
    more = [
        "--feature_cache_crops",
        "2",
        "--feature_cache_prefill",
        "--feature_cache_dtype",
        "float16",
    ]
    known = [*words("sid", layer_norm_student, corpora, "exp"), *options]
    (score,) = run([*known, *cached("pooled", *more)])
    assert score.features == "pooled, equal up to rounding, 2 fixed crops, float16"
    lengths = [length for batch in waves_seen for length in batch]
    assert lengths.count(8000) == 2 * 4
    assert lengths.count(12800) == 2 + 2
    said = capsys.readouterr().err
    assert "pooled: 0 hits" not in said
    assert ", 0 misses, 12 filled before" in said
    assert "2 fixed places instead of anywhere: a deviation" in said


@pytest.mark.parametrize(("count", "train"), [(1, 2), (8, 4)])
def test_means_of_what_an_epoch_draws_are_computed_before_it(
    corpora, layer_norm_student, capsys, count, train
):
    """A training of one batch takes two recordings of four."""
    options = [*steps("sid", count, f",,{EXPERT}.datarc.train_batch_size=2"), *cached("auto")]
    (score,) = run([*words("sid", layer_norm_student, corpora, "exp"), *options])
    assert score.features == "pooled, equal up to rounding"
    training = capsys.readouterr().err.split("feature cache: pooled: ")[1]
    assert f", 0 misses, {train + 2 + 2} filled before" in training


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        ("pr", [*cached("auto"), "-f"], "-f trains the upstream"),
        ("asr", cached("pooled"), "only SID, KS, IC and ER"),
        ("sid", [*cached("exact"), "-f"], "-f trains the upstream"),
        ("sid", [*cached("pooled"), "--upstream_feature_normalize"], "is not linear"),
    ],
)
def test_what_cannot_be_cached_is_refused(corpora, student, task, options, message):
    with pytest.raises(ConfigError, match=message):
        run([*words(task, student, corpora, "exp"), *steps(task, 2), *options])
