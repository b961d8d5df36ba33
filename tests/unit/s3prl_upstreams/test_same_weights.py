"""A head goes on with the upstream it was trained on."""

from __future__ import annotations

from argparse import Namespace

import pytest
import torch
from torch import nn

from espnet_kd.errors import CheckpointError
from s3prl_upstreams.same_weights import compare_weights, weights_digest


class Runner:
    def __init__(self, model, mode="train", trainable=False, **stored):
        self.args = Namespace(upstream="armhubert", upstream_ckpt="student", init_ckpt="x.ckpt")
        vars(self.args).update(stored, mode=mode)
        self.entry = Namespace(model=model, trainable=trainable)


def get(runner):
    return compare_weights(lambda runner: runner.entry)(runner)


def linear(seed):
    torch.manual_seed(seed)
    return nn.Linear(3, 2)


def test_names_and_order_do_not_matter_and_numbers_do():
    one, two = linear(0), linear(1)
    assert weights_digest(nn.Sequential(one, two)) == weights_digest(
        nn.ModuleDict({"b": two, "a": one})
    )
    assert weights_digest(one) == weights_digest(linear(0)) != weights_digest(two)
    assert weights_digest(one) != weights_digest(linear(0).bfloat16())
    assert weights_digest(nn.Identity()) != weights_digest(one)


def test_other_weights_end_a_training_and_are_said_in_an_evaluation(capsys):
    first = Runner(linear(0))
    assert get(first) is first.entry
    stored = {"upstream_weights": first.args.upstream_weights}
    get(Runner(linear(0), **stored))
    assert capsys.readouterr().err == ""
    with pytest.raises(CheckpointError, match=r"head in x\.ckpt was trained on other weights"):
        get(Runner(linear(1), **stored))
    get(Runner(linear(1), "evaluate", **stored))
    assert "other weights than student has now" in capsys.readouterr().err


def test_trained_upstreams_are_in_the_checkpoint():
    runner = Runner(linear(1), trainable=True, upstream_weights="another")
    get(runner)
    assert runner.args.upstream_weights == "another"
