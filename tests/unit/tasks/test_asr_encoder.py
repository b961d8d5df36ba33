"""encoder: kd_student."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from espnet_kd.encoder import SpeechEncoder, SpeechEncoderConfig
from espnet_kd.errors import CheckpointError, ConfigError
from espnet_kd.tasks.asr_encoder import KDStudentEncoder, resolve_encoder_conf
from tests.unit.encoder.tiny import tiny


@pytest.fixture
def saved(student: SpeechEncoderConfig, tmp_path: Path) -> str:
    SpeechEncoder.from_config(student).save_pretrained(tmp_path / "student")
    return str(tmp_path / "student")


def test_frames_are_the_students(saved: str, speech) -> None:
    encoder = KDStudentEncoder(1, pretrained=saved).eval()
    frames_BTD, lengths_B, states = encoder(*speech)
    expected = SpeechEncoder.from_pretrained(saved)(*speech)
    assert states is None
    assert encoder.output_size() == frames_BTD.shape[-1] == 12
    assert torch.equal(lengths_B, expected.lengths_B)
    assert torch.equal(frames_BTD, expected.layer_outputs[-1])


def test_weighted_sum_starts_as_the_mean_of_hidden_states(saved: str, speech) -> None:
    encoder = KDStudentEncoder(1, pretrained=saved, hidden_state="weighted").eval()
    frames_BTD, _, _ = encoder(speech[0].unsqueeze(-1), speech[1])
    states = SpeechEncoder.from_pretrained(saved)(*speech).hidden_states
    assert encoder.output_size() == 16
    assert torch.allclose(frames_BTD, torch.stack(states).mean(0), atol=1e-6)


@pytest.mark.parametrize("hidden_state", ["last", "weighted"])
def test_every_trainable_parameter_gets_a_gradient(saved: str, speech, hidden_state: str) -> None:
    encoder = KDStudentEncoder(1, pretrained=saved, hidden_state=hidden_state)
    encoder(*speech)[0].sum().backward()
    trainable = {name for name, p in encoder.named_parameters() if p.requires_grad}
    assert trainable == {name for name, p in encoder.named_parameters() if p.grad is not None}
    assert not any("feature_extractor" in name for name in trainable)


@pytest.mark.parametrize("hidden_state", ["last", "weighted"])
@pytest.mark.parametrize("name", ["hubert_base", "hubert_large", "wavlm_large"])
def test_encoders_of_dphuberts_layout(name: str, hidden_state: str, speech, tmp_path: Path) -> None:
    model = tiny(name, hidden_states="features", mask_embedding=False, channel_scale=True)
    model.save_pretrained(tmp_path)
    encoder = KDStudentEncoder(1, pretrained=str(tmp_path), hidden_state=hidden_state)
    encoder(*speech)[0].square().sum().backward()
    trainable = {name for name, p in encoder.named_parameters() if p.requires_grad}
    assert trainable == {name for name, p in encoder.named_parameters() if p.grad is not None}
    frames_BTD, _, _ = encoder.eval()(*speech)
    states = model(*speech).hidden_states
    if hidden_state == "last":
        normed_BTD = model.encoder_norm(states[-1]) if model.config.norm_first else states[-1]
        assert torch.equal(frames_BTD, normed_BTD)
    else:
        assert torch.allclose(frames_BTD, torch.stack(states).mean(0), atol=1e-5)


def test_freezing_ends_after_the_stated_batches(saved: str, speech) -> None:
    encoder = KDStudentEncoder(1, pretrained=saved, freeze_updates=2).train()
    gradients = [encoder(*speech)[0].requires_grad for _ in range(3)]
    assert gradients == [False, False, True]
    encoder.eval()
    encoder(*speech)
    assert int(encoder.num_batches) == 3


def test_stored_configuration_replaces_a_folder_that_is_gone(saved: str, tmp_path: Path) -> None:
    conf = resolve_encoder_conf({"pretrained": saved, "hidden_state": "last"})
    assert conf["hidden_state"] == "last"
    Path(saved).rename(tmp_path / "elsewhere")
    encoder = KDStudentEncoder(1, **conf)
    assert encoder.encoder.config.to_dict() == conf["config"]
    with pytest.raises(CheckpointError, match="no such folder"):
        resolve_encoder_conf(conf)
    with pytest.raises(CheckpointError, match="no such folder"):
        KDStudentEncoder(1, pretrained=saved)


def test_random_weights_only_by_architecture(student: SpeechEncoderConfig) -> None:
    assert resolve_encoder_conf({"architecture": "armhubert"}) == {"architecture": "armhubert"}
    encoder = KDStudentEncoder(1, architecture="armhubert", overrides=student.to_dict())
    assert encoder.encoder.config == student
    with pytest.raises(ConfigError, match="give pretrained"):
        KDStudentEncoder(1)


def test_wrong_options_are_listed(saved: str) -> None:
    with pytest.raises(ConfigError) as caught:
        KDStudentEncoder(80, pretrained=saved, hidden_state="first")
    assert len(caught.value.problems) == 2
