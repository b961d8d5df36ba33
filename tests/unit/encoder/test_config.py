"""The configuration says all that is wrong with it at once, and survives dicts and JSON."""

from __future__ import annotations

from typing import Any

import pytest

from espnet_kd.encoder import LayerConfig, SpeechEncoderConfig
from espnet_kd.errors import ConfigError
from tests.unit.encoder.tiny import tiny_config

RECORD = {"num_heads": 4, "head_dim": 4, "ffn_dim": 24}


def _problems(**changes: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        tiny_config("armhubert", **changes)
    return caught.value.problems


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"extractor_norm": "batch_norm"}, "extractor_norm is 'batch_norm'; it must be one of"),
        ({"reuse_mode": "double"}, "reuse_mode"),
        ({"frame_padding": "none"}, "frame_padding"),
        ({"hidden_states": "all"}, "hidden_states"),
        ({"activation": "tanh"}, "activation"),
        ({"conv_layers": []}, "conv_layers is empty"),
        ({"conv_layers": [[8, 10]]}, "conv_layers[0] is [8, 10]"),
        ({"conv_layers": [[8, 10, 5], [16, 0, 2]]}, "conv_layers[1]"),
        ({"conv_layers": [[8, 10, 5]]}, "last convolution has 8 channels and embed_dim is 16"),
        ({"embed_dim": 0}, "embed_dim is 0"),
        ({"pos_conv_kernel": 0}, "pos_conv_kernel is 0"),
        ({"pos_conv_groups": 0}, "pos_conv_groups is 0"),
        ({"pos_conv_groups": 5}, "not a multiple of pos_conv_groups 5"),
        ({"sample_rate": 0}, "sample_rate is 0"),
        ({"max_distance": 0}, "max_distance is 0"),
        ({"head_dim": -1}, "head_dim is -1"),
        ({"head_dim": 0}, "hidden_states is 'heads' but head_dim is 0"),
        ({"num_buckets": -2}, "num_buckets is -2"),
        ({"num_buckets": 3}, "num_buckets is 3"),
        ({"num_buckets": 16, "max_distance": 4}, "max_distance is 4"),
        ({"total_heads": -1}, "total_heads is -1"),
        ({"layer_norm_eps": 0.0}, "layer_norm_eps is 0.0"),
        ({"dropout": 1.0}, "dropout is 1.0; it must be in [0, 1)"),
        ({"attention_dropout": -0.1}, "attention_dropout is -0.1"),
        ({"activation_dropout": 2.0}, "activation_dropout"),
        ({"dropout_input": 1.5}, "dropout_input"),
        ({"layerdrop": 1.0}, "layerdrop"),
        ({"layers": []}, "layers is empty"),
        ({"layers": [{**RECORD, "attention": "some"}]}, "layers[0].attention is 'some'"),
        ({"layers": [{**RECORD, "num_heads": 0}]}, "layers[0] needs at least one head"),
        ({"layers": [{**RECORD, "head_dim": 0}]}, "layers[0] needs at least one head"),
        ({"layers": [{**RECORD, "ffn_dim": -1}]}, "ffn_dim must not be negative"),
        ({"layers": [{**RECORD, "time_reduction": 0}]}, "time_reduction"),
        ({"layers": [{**RECORD, "time_reduction_kernel": 0}]}, "time_reduction"),
        ({"layers": [{**RECORD, "attention": "reused"}]}, "layers[0] reuses a map"),
        (
            {"layers": [RECORD, {**RECORD, "attention": "reused", "num_heads": 2}]},
            "layers[1] has 2 heads but the map that it reuses has 4",
        ),
        (
            {"num_buckets": 16, "layers": [RECORD, {**RECORD, "num_heads": 2}]},
            "kept_heads must name them",
        ),
        (
            {"num_buckets": 16, "layers": [RECORD, {**RECORD, "kept_heads": [0, 1, 1, 3]}]},
            "layers[1].kept_heads [0, 1, 1, 3] must be 4 different indexes",
        ),
        (
            {"num_buckets": 16, "layers": [{**RECORD, "kept_heads": [0, 1, 2, 4]}]},
            "layers[0].kept_heads",
        ),
        ({"num_buckets": 16, "total_heads": 3, "layers": [RECORD]}, "heads of the position bias"),
        (
            {
                "num_buckets": 16,
                "layers": [{**RECORD, "attention": "none", "num_heads": 0}, RECORD],
            },
            "total_heads",
        ),
    ],
    ids=str,
)
def test_every_rule(changes: dict[str, Any], said: str) -> None:
    problems = _problems(**changes)
    assert any(said in problem for problem in problems), problems


def test_all_problems_at_once() -> None:
    problems = _problems(dropout=-1.0, reuse_mode="x", pos_conv_groups=3, layers=[])
    assert len(problems) == 4


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"embed_dims": 16}, "unknown key embed_dims; did you mean embed_dim"),
        ({"embed_dim": "16"}, "embed_dim is '16' (str); expected int"),
        ({"embed_dim": True}, "embed_dim is True (bool)"),
        ({"embed_dim": None}, "embed_dim is None"),
        ({"norm_first": 1}, "norm_first is 1 (int); expected bool"),
        ({"layers": {"a": 1}}, "layers is {'a': 1}; expected a list"),
        ({"layers": [{"ffn": 3}]}, "unknown key layers[0].ffn"),
        ({"layers": [3]}, "layers[0] must be a mapping"),
        ({"layers": [{"kept_heads": ["a"]}]}, "layers[0].kept_heads[0] is 'a'"),
        ({"conv_layers": [[512, "10", 5]]}, "conv_layers[0][1] is '10'"),
        ({"conv_layers": 7}, "conv_layers is 7"),
        ({3: 4}, "unknown key 3"),
    ],
    ids=str,
)
def test_unknown_keys_and_types(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        SpeechEncoderConfig.from_dict(values)
    assert any(said in problem for problem in caught.value.problems), caught.value.problems


def test_unknown_keys_are_listed_together() -> None:
    with pytest.raises(ConfigError) as caught:
        SpeechEncoderConfig.from_dict({"embed_dims": 1, "layer": [], "dropout": "no"})
    assert len(caught.value.problems) == 3


def test_replacing_makes_a_copy() -> None:
    config = tiny_config("armhubert")
    other = config.replace(dropout=0.5)
    other.layers[0].ffn_dim = 1
    assert (config.dropout, config.layers[0].ffn_dim) == (0.1, 24)
    with pytest.raises(ConfigError, match="unknown key dropouts"):
        config.replace(dropouts=0.5)


def test_numbers_from_yaml() -> None:
    config = SpeechEncoderConfig.from_dict({"dropout": 0, "layer_norm_eps": "1e-6"})
    assert config.layer_norm_eps == 1e-6
    assert isinstance(config.dropout, float)


def test_pruned_layers_are_ordinary_records() -> None:
    config = tiny_config(
        "wavlm_base",
        layers=[
            RECORD,
            {**RECORD, "num_heads": 2, "kept_heads": [1, 3]},
            {**RECORD, "attention": "none", "num_heads": 0},
            {**RECORD, "ffn_dim": 0},
        ],
    )
    assert config.validate() == []
    assert [layer.attention_dim for layer in config.layers] == [16, 8, 0, 16]
    assert config.bias_heads == 4


def test_defaults_are_hubert_base() -> None:
    config = SpeechEncoderConfig()
    assert (config.hop, config.receptive_field, config.num_layers) == (320, 400, 12)
    assert config.conv_dim == 512
    assert LayerConfig().attention_dim == config.embed_dim == 768
    assert config.layers[0] is not config.layers[1]
