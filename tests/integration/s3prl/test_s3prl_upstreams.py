"""Our names in S3PRL's own interfaces and in ESPnet's frontend, with the real hub."""

from __future__ import annotations

import pytest
import torch

import espnet_kd
from s3prl_upstreams import names
from s3prl_upstreams.hub import DEFAULTS, UPSTREAMS
from s3prl_upstreams.quick_hub import ESPNET_TASK, without

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def nn():
    """``s3prl.nn``, with the hub imported for good."""
    with without(ESPNET_TASK):
        import s3prl.nn

        assert "fbank" in s3prl.nn.S3PRLUpstream.available_names()
    return s3prl.nn


def waves(*seconds):
    generator = torch.Generator().manual_seed(0)
    lengths = torch.tensor([round(16000 * s) for s in seconds])
    batch = torch.zeros(len(seconds), int(lengths.max()))
    for row, length in zip(batch, lengths, strict=True):
        row[:length] = torch.randn(int(length), generator=generator)
    return batch, lengths


def test_s3prl_lists_our_names_and_nothing_else_of_ours(nn):
    available = set(nn.S3PRLUpstream.available_names())
    assert set(names()) <= available
    shown = set(nn.S3PRLUpstream.available_names(only_registered_ckpt=True))
    assert {"armhubert", "kd_student"} <= shown
    assert not {name for name in shown if name.startswith("armhubert_")}


@pytest.mark.parametrize("name", [*UPSTREAMS, "dpwavlm_local", "starhubert_custom"])
def test_s3prl_upstream(nn, student, name):
    upstream = nn.S3PRLUpstream(name, path_or_url=str(student)).eval()
    batch, lengths = waves(1.0, 0.4)
    with torch.no_grad():
        states, states_lengths = upstream(batch, lengths)
        changes = DEFAULTS.get(name.removesuffix("_local"), {})
        ours = espnet_kd.load_model(str(student), **changes)(batch, lengths).hidden_states
    assert upstream.num_layers == len(states) == len(ours) == (5 if changes else 4)
    assert states_lengths[0].tolist() == [50, 20]
    for state, own in zip(states, ours, strict=True):
        assert torch.equal(state[:, :49], own)
        assert torch.equal(state[:, 49], own[:, -1]), "S3PRL repeats the last frame"
    features, _ = nn.Featurizer(upstream)(states, states_lengths)
    assert tuple(features.shape) == (2, 50, ours[0].size(-1))


@pytest.mark.parametrize("seconds", [(0.05,), (0.02, 0.05), (0.05, 0.5, 1.0)])
def test_s3prls_contract_for_short_waves(nn, student, seconds):
    upstream = nn.S3PRLUpstream("armhubert", path_or_url=str(student))
    with torch.autograd.set_detect_anomaly(True):
        states, _ = upstream(*waves(*seconds))
        sum(state.sum() for state in states).backward()


def test_a_published_file_and_its_yaml(nn, published):
    ckpt, yaml = map(str, published)
    options = {"model_config": yaml, "reuse_mode": "ref"}
    upstream = nn.S3PRLUpstream("armhubert", path_or_url=ckpt, extra_conf=options)
    assert upstream.upstream.model.config.reuse_mode == "ref"
    assert upstream.hidden_sizes == [12] * 4


@pytest.mark.parametrize("name", ["dphubert", "dpwavlm_custom"])
def test_a_published_pruned_file(nn, pruned, name):
    upstream = nn.S3PRLUpstream(name, path_or_url=str(pruned)).eval()
    assert (upstream.num_layers, upstream.hidden_sizes) == (4, [16] * 4)
    batch, lengths = waves(1.0, 1.0)
    with torch.no_grad():
        states, _ = upstream(batch, lengths)
        output = espnet_kd.load_model(str(pruned))(batch, lengths)
    for state, own in zip(states, [output.features, *output.layer_outputs], strict=True):
        assert torch.equal(state[:, :49], own)


def test_legacy_featurizer(nn, student):
    from s3prl import hub
    from s3prl.upstream.interfaces import Featurizer

    expert = hub.armhubert(ckpt=str(student), model_config=None, refresh=False)
    featurizer = Featurizer(expert, upstream_device="cpu")
    assert (featurizer.layer_num, featurizer.output_dim, featurizer.downsample_rate) == (4, 12, 320)
    batch = [wave for wave, _ in zip(*waves(1.0, 1.0), strict=True)]
    with torch.no_grad():
        frames = featurizer(batch, expert(batch))
    assert [tuple(frame.shape) for frame in frames] == [(49, 12)] * 2


def test_espnet_frontend(nn, student):
    from espnet2.asr.frontend.s3prl import S3prlFrontend

    conf = {"upstream": "kd_student", "path_or_url": str(student)}
    frontend = S3prlFrontend(fs="16k", frontend_conf=conf, multilayer_feature=True).eval()
    with torch.no_grad():
        features, lengths = frontend(*waves(1.0, 0.4))
    assert tuple(features.shape) == (2, 50, 12) == (2, 50, frontend.output_size())
    assert lengths.tolist() == [50, 20]
    assert frontend.hop_length == 320
    again = S3prlFrontend(fs="16k", frontend_conf=conf, multilayer_feature=True).eval()
    again.load_state_dict(frontend.state_dict())
