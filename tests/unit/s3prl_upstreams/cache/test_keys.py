"""Keys differ wherever features would, and only there."""

from __future__ import annotations

import importlib.util
import sys
from types import SimpleNamespace

import torch

from s3prl_upstreams.cache.keys import batch_key, upstream_key, wave_key
from tests.unit.s3prl_upstreams.cache.toy import Toy, waves


def test_a_wave_is_its_samples():
    (a,) = waves(100)
    assert wave_key(a) == wave_key(a.clone())
    assert wave_key(torch.stack([a, a], dim=1)[:, 0]) == wave_key(a), "strides do not matter"
    others = [a[:-1], -a, a.double(), torch.cat([a, torch.zeros(1)])]
    assert len({wave_key(x) for x in [a, *others]}) == 5


def test_a_batch_is_its_waves_in_order_and_their_ends():
    a, b = waves(10, 7)
    whole = torch.cat([a, b])
    others = [[b, a], [whole[:9], whole[9:]], [whole], [a]]
    assert len({batch_key(x) for x in [[a, b], *others]}) == 5
    assert batch_key([a.clone(), b]) == batch_key([a, b])


def test_an_upstream_is_its_weights_and_options():
    key = upstream_key(Toy(), "exact")
    assert key == upstream_key(Toy(), "exact")
    other_option, other_buffer = Toy(), Toy()
    other_option.rate = 5
    other_buffer.register_buffer("seen_before", torch.zeros(1), persistent=False)
    moved = Toy()
    moved.weight.data[1] += 1e-6
    half = Toy().half()
    variants = [Toy(1.5), other_option, other_buffer, moved, half]
    assert (
        len({key, upstream_key(Toy(), "pooled"), *(upstream_key(v, "exact") for v in variants)})
        == 7
    )


def test_options_of_our_encoder_count(students):
    expert = students["group_norm"]
    before = upstream_key(expert)
    config = expert.model.config
    config.reuse_mode, old = "ref", config.reuse_mode
    try:
        assert upstream_key(expert) != before
    finally:
        config.reuse_mode = old
    assert upstream_key(expert) == before


def test_options_in_objects_that_an_upstream_holds_count():
    keys = set()
    for normalize in (False, True):
        toy = Toy()
        # As S3PRL's WavLM and the processors of transformers' models keep it.
        toy.processor = SimpleNamespace(extractor=SimpleNamespace(do_normalize=normalize))
        toy.processor.extractor.owner = toy.processor
        keys |= {upstream_key(toy) for _ in range(2)}
    assert len(keys) == 2


def test_another_version_of_the_code_is_another_upstream(tmp_path, monkeypatch):
    keys = []
    for name in ("old", "new"):
        file = tmp_path / name / "upstream_of_a_test.py"
        file.parent.mkdir()
        file.write_text(f"import torch\nclass Net(torch.nn.Module):\n    '{name}'\n")
        spec = importlib.util.spec_from_file_location(file.stem, file)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, file.stem, module)
        spec.loader.exec_module(module)
        keys.append(upstream_key(module.Net()))
        assert upstream_key(module.Net()) == keys[-1]
    assert keys[0] != keys[1]
