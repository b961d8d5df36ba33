"""--student and --student_conf."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest

from espnet_kd.encoder import SpeechEncoder, SpeechEncoderConfig
from espnet_kd.encoder.architectures import architecture
from espnet_kd.errors import CheckpointError, ConfigError
from espnet_kd.tasks.ssl_distill import SSLDistillTask
from espnet_kd.tasks.students import student_config


def test_architecture_with_changes() -> None:
    assert student_config("armhubert", {}) == architecture("armhubert")
    assert student_config("armhubert", {"reuse_mode": "single"}).reuse_mode == "single"


def test_equal_layers_and_reuse_pattern() -> None:
    layers = {"num_heads": 4, "head_dim": 120, "reuse_pattern": [True, False]}
    config = student_config("armhubert", {"layers": layers})
    assert [layer.attention for layer in config.layers] == ["full", "reused"]
    assert {layer.head_dim for layer in config.layers} == {120}
    plain = student_config("armhubert", {"layers": {"num_layers": 3, "ffn_dim": 8}})
    assert [(layer.attention, layer.ffn_dim) for layer in plain.layers] == [("full", 8)] * 3


@pytest.mark.parametrize(
    ("layers", "part"),
    [
        ({"num_layers": 0}, "positive whole number"),
        ({"num_layers": 3, "reuse_pattern": [True]}, "one entry for each of the 3 layers"),
        ({"reuse_pattern": [1, 0]}, "true .computes its map. or false"),
        ({"num_layers": 1, "head_dimm": 3}, "did you mean head_dim"),
    ],
)
def test_wrong_layers(layers: dict, part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        student_config("armhubert", {"layers": layers})


def test_saved_student(student: SpeechEncoderConfig, tmp_path: Path) -> None:
    SpeechEncoder.from_config(student).save_pretrained(tmp_path)
    assert student_config(str(tmp_path), {}) == student
    assert student_config(str(tmp_path), {"dropout": 0.3}).dropout == 0.3


def test_unknown_names(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean armhubert"):
        student_config("armhubart", {})
    (tmp_path / "config.json").write_text('{"model_type": "hubert"}')
    with pytest.raises(CheckpointError, match=r"espnet_kd\.bin\.convert"):
        student_config(str(tmp_path), {})


def test_weights_of_a_saved_student_must_fit(student: SpeechEncoderConfig, tmp_path: Path) -> None:
    SpeechEncoder.from_config(student).save_pretrained(tmp_path)
    conf = {"objectives": {"temporal_relation": {}}}
    args = Namespace(student=str(tmp_path), student_conf={}, kd_conf=conf, seed=0)
    SSLDistillTask.build_model(args)
    args.student_conf = {"pos_conv_kernel": 4}
    with pytest.raises(
        CheckpointError, match=r"changed by student_conf, do not fit(.|\n)*pos_conv"
    ):
        SSLDistillTask.build_model(args)
