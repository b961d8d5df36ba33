"""A student of ours inside S3PRL's own wav2vec 2.0 code: what a user has without this package.

S3PRL's class has the published students' front end, padding rule (the convolutions' length formula)
and layers, so both compute the same hidden states from the same weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from espnet_kd.checkpoints.fairseq import name_table
from espnet_kd.encoder import SpeechEncoder, SpeechEncoderConfig

UPSTREAM = "wav2vec2_local"
"""S3PRL's name of the upstream that reads the file."""


def save_for_s3prl(encoder: SpeechEncoder, path: Path) -> None:
    """Write a file for S3PRL's upstream ``wav2vec2_local``.

    Args:
        encoder: with layers that are all alike and compute their own maps, and without heads.
        path: of the file.

    Raises:
        ValueError: S3PRL's code has no such student.
    """
    from s3prl.upstream.utils import merge_with_parent
    from s3prl.upstream.wav2vec2.wav2vec2_model import Wav2Vec2Config, Wav2Vec2Model

    options = _options(encoder.config)
    weights = Wav2Vec2Model(merge_with_parent(Wav2Vec2Config, options)).state_dict()
    # What only pre-training needs keeps the numbers that S3PRL gave it.
    ours = name_table(encoder.config.extractor_norm).to_foreign(encoder.state_dict())
    weights.update((name, ours.pop(name)) for name in list(weights) if name in ours)
    if ours or any(layer != encoder.config.layers[0] for layer in encoder.config.layers):
        raise ValueError(
            f"S3PRL's own code has no {encoder.config.family} like this one: choose a student "
            "without heads, all of whose layers are alike (--student starhubert)"
        )
    task = {"normalize": encoder.config.normalize_waveform, "sample_rate": 16000}
    torch.save({"task_cfg": task, "model_cfg": options, "model_weight": weights}, path)


def _options(config: SpeechEncoderConfig) -> dict[str, Any]:
    layer = config.layers[0]
    return {
        "extractor_mode": "default" if config.extractor_norm == "group_norm" else "layer_norm",
        "conv_feature_layers": str([tuple(conv) for conv in config.conv_layers]),
        "conv_bias": config.conv_bias,
        "encoder_layers": len(config.layers),
        "encoder_embed_dim": config.embed_dim,
        "encoder_ffn_embed_dim": layer.ffn_dim,
        "encoder_attention_heads": layer.num_heads,
        "layer_norm_first": config.norm_first,
        "conv_pos": config.pos_conv_kernel,
        "conv_pos_groups": config.pos_conv_groups,
    }
