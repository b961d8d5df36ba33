"""S3PRL's upstream contract (its own tests' cases), without importing S3PRL."""

from __future__ import annotations

import pytest
import torch

from espnet_kd.errors import AudioError, ConfigError
from s3prl_upstreams.expert import UpstreamExpert


@pytest.fixture
def expert(load_model):
    return UpstreamExpert("student").eval()


def waves(*seconds, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(round(16000 * s), generator=generator) for s in seconds]


def test_states_are_a_list_of_equal_tensors(expert):
    with torch.no_grad():
        result = expert(waves(0.5, 1.0))
    states = result["hidden_states"]
    assert isinstance(states, list)
    assert {tuple(state.shape) for state in states} == {(2, 49, 12)}
    assert torch.equal(result["last_hidden_state"], states[-1])
    assert expert.get_downsample_rates("hidden_states") == 320


def test_eval_is_deterministic(expert):
    with torch.no_grad():
        first, again = (expert(waves(0.3, 0.7))["hidden_states"] for _ in range(2))
    assert all(map(torch.equal, first, again))


def test_layers_are_as_many_in_training_and_for_any_input(expert):
    counts = set()
    for mode in (True, False):
        expert.train(mode)
        counts |= {len(expert(waves(*s))["hidden_states"]) for s in [(0.05,), (1.0, 0.2), (2.0,)]}
    assert counts == {4}


@pytest.mark.parametrize("seconds", [(0.05,), (0.05, 0.05), (0.05, 0.5, 1.0), (0.01, 0.002)])
def test_backward_with_very_short_waves(expert, seconds):
    expert.train()
    with torch.autograd.set_detect_anomaly(True):
        states = expert(waves(*seconds))["hidden_states"]
        sum(state.sum() for state in states).backward()
    # S3PRL tolerates a difference of less than 5 frames
    assert abs(states[0].size(1) - round(max(seconds) * 16000 / 320)) < 5


def test_batch_mates_share_no_attention_maps_unless_asked_for(load_model):
    """Equal lengths: no padding, so only mixed maps could make a batch differ from its parts."""
    batch = waves(0.4, 0.4, 0.4)
    differences = {}
    for mode in ("fixed", "ref"):
        expert = UpstreamExpert("student", reuse_mode=mode).eval()
        sharpen_attention(expert)
        with torch.no_grad():
            together = expert(batch)["last_hidden_state"]
            alone = torch.cat([expert([wave])["last_hidden_state"] for wave in batch])
        differences[mode] = float((together - alone).abs().max())
    assert differences["fixed"] < 1e-5 < differences["ref"]


def sharpen_attention(expert):
    """Random weights attend to everything alike: without this all maps look the same."""
    for name, parameter in expert.named_parameters():
        if "q_proj" in name or "k_proj" in name:
            parameter.data.mul_(20.0)


def test_options_reach_the_model(load_model, capsys):
    UpstreamExpert("student.ckpt", "student.yaml", reuse_mode="single", typo=1)
    path, config, overrides = load_model[0]
    assert (path, config) == ("student.ckpt", "student.yaml")
    assert overrides == {"layerdrop": 0.0, "reuse_mode": "single"}
    assert "ignored: typo" in capsys.readouterr().err


def test_frozen_upstreams_can_stay_in_eval(load_model):
    for wanted in (True, False):
        expert = UpstreamExpert("student", eval_when_frozen=wanted).requires_grad_(False)
        assert expert.train().training is not wanted
        assert expert.model.training is not wanted
    expert = UpstreamExpert("student", eval_when_frozen=True)
    assert expert.train().training, "parameters that learn are trained with dropout"


def test_features_in_half_precision_come_back_in_float32(load_model, expert):
    rough = UpstreamExpert("student", dtype="bfloat16").eval()
    assert {parameter.dtype for parameter in rough.parameters()} == {torch.bfloat16}
    batch = waves(0.5, 1.0)
    with torch.no_grad():
        exact, states = (model(batch)["hidden_states"] for model in (expert, rough))
    assert {state.dtype for state in states} == {torch.float32}
    for state, other in zip(states, exact, strict=True):
        assert (state[1] - other[1]).norm() < 0.05 * other[1].norm()
        assert not torch.equal(state, other)
    with pytest.raises(ConfigError, match="dtype is 'half'; choose float32 or bfloat16"):
        UpstreamExpert("student", dtype="half")


def test_a_bad_wave_is_named(expert):
    with pytest.raises(AudioError, match="wave 1"):
        expert([torch.zeros(800), torch.full((800,), float("nan"))])
