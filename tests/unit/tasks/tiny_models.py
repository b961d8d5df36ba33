"""Tiny students and teachers that fit each other."""

from __future__ import annotations

from espnet_kd.encoder import SpeechEncoder, SpeechEncoderConfig
from espnet_kd.tasks.students import student_config

CONV_LAYERS = [[8, 10, 5], *[[8, 3, 2]] * 4, *[[12, 2, 2]] * 2]


def tiny_student(**changes: object) -> SpeechEncoderConfig:
    """Three layers, the second one reusing the first one's map, heads of the teacher's width."""
    layers = {"num_heads": 2, "head_dim": 6, "ffn_dim": 16, "reuse_pattern": [True, False, True]}
    conf = {
        "conv_layers": CONV_LAYERS,
        "embed_dim": 12,
        "feature_projection": False,
        "pos_conv_kernel": 8,
        "pos_conv_groups": 2,
        "head_dim": 16,
        "layers": layers,
    }
    return student_config("hubert_base", {**conf, "hidden_states": "heads", **changes})


def tiny_teacher(**changes: object) -> SpeechEncoder:
    """A post-norm encoder of width 16 with as many layers."""
    conf = {
        "conv_layers": CONV_LAYERS,
        "embed_dim": 16,
        "pos_conv_kernel": 8,
        "pos_conv_groups": 2,
        "layers": {"num_layers": 3, "num_heads": 2, "head_dim": 8, "ffn_dim": 16},
    }
    return SpeechEncoder.from_config(student_config("hubert_base", {**conf, **changes}))
