"""Experiments that were moved write where they are now."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest
import torch

from s3prl_upstreams.invocation import Invocation
from s3prl_upstreams.moved import torch_that_loads_for


@pytest.mark.parametrize("content", [{"Args": Namespace(expdir="before", seed=1)}, {"Args": 1}, 3])
def test_only_the_folder_changes(tmp_path, content):
    torch.save(content, tmp_path / "x.ckpt")
    told = torch_that_loads_for(Path("now"))
    found = told.load(str(tmp_path / "x.ckpt"), map_location="cpu")
    if content == 3 or content["Args"] == 1:
        assert found == content
    else:
        assert vars(found["Args"]) == {"expdir": "now", "seed": 1}
    assert told.zeros is torch.zeros


@pytest.mark.parametrize(
    ("words", "folder"),
    [(["-e", "a/b.ckpt"], "a"), (["-e", "a/b.ckpt", "-p", "c"], "c"), (["-p", "c"], "c")],
)
def test_where_an_experiment_is(words, folder):
    assert Invocation.parse(words, {}).folder == Path(folder)
