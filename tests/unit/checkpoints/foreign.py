"""Published layouts written from our own tiny models, as the programs of their authors would."""

from __future__ import annotations

import sys
import types
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from espnet_kd.checkpoints import fairseq, huggingface
from espnet_kd.checkpoints.armhubert import STUDENT_PREFIX
from espnet_kd.encoder import SpeechEncoder, SpeechEncoderConfig
from tests.unit.encoder.tiny import close, waves


def same_outputs(ours: SpeechEncoder, theirs: SpeechEncoder) -> None:
    """Both encoders give the same layer outputs for a padded batch."""
    x_BS, lengths_B = waves(4000, 2600)
    with torch.no_grad():
        pairs = zip(
            ours(x_BS, lengths_B).layer_outputs,
            theirs(x_BS, lengths_B).layer_outputs,
            strict=True,
        )
    for one, other in pairs:
        close(one, other, atol=0.0)


def fairseq_options(config: SpeechEncoderConfig) -> dict[str, Any]:
    """A ``model`` block of fairseq's options."""
    record = config.layers[0]
    return {
        "_name": config.family,
        "extractor_mode": "layer_norm" if config.extractor_norm == "layer_norm" else "default",
        "conv_feature_layers": str([tuple(conv) for conv in config.conv_layers]),
        "conv_bias": config.conv_bias,
        "feature_grad_mult": 0.1,
        "encoder_layers": config.num_layers,
        "encoder_embed_dim": config.embed_dim,
        "encoder_ffn_embed_dim": record.ffn_dim,
        "encoder_attention_heads": record.num_heads,
        "activation_fn": "gelu",
        "layer_norm_first": config.norm_first,
        "conv_pos": config.pos_conv_kernel,
        "conv_pos_groups": config.pos_conv_groups,
        "dropout": config.dropout,
        "mask_prob": 0.8,
    }


def fairseq_weights(model: SpeechEncoder) -> dict[str, Tensor]:
    """The model's weights under fairseq's names."""
    return fairseq.name_table(model.config.extractor_norm).to_foreign(model.state_dict())


def fairseq_content(model: SpeechEncoder, normalize: bool = False) -> dict[str, Any]:
    """A fairseq HuBERT checkpoint, with what only its training needed."""
    weights = fairseq_weights(model)
    weights["final_proj.weight"] = torch.zeros(4, 16)
    weights["label_embs_concat"] = torch.zeros(5, 4)
    return {
        "cfg": {"model": fairseq_options(model.config), "task": {"normalize": normalize}},
        "args": None,
        "task_state": {},
        "model": weights,
    }


def wavlm_content(model: SpeechEncoder) -> dict[str, Any]:
    """A Microsoft WavLM checkpoint: flat options."""
    options = fairseq_options(model.config)
    options.pop("_name")
    options.update(
        relative_position_embedding=True,
        num_buckets=model.config.num_buckets,
        max_distance=model.config.max_distance,
        gru_rel_pos=True,
        normalize=model.config.normalize_waveform,
    )
    return {"cfg": options, "model": fairseq_weights(model)}


def huggingface_directory(model: SpeechEncoder, folder: Path) -> Path:
    """A Hugging Face directory without transformers."""
    import json

    from safetensors.torch import save_file

    config, record = model.config, model.config.layers[0]
    folder.mkdir(parents=True)
    convs = list(zip(*config.conv_layers, strict=True))
    values = {
        "model_type": config.family,
        "hidden_size": config.embed_dim,
        "num_attention_heads": record.num_heads,
        "intermediate_size": record.ffn_dim,
        "num_hidden_layers": config.num_layers,
        "conv_dim": convs[0],
        "conv_kernel": convs[1],
        "conv_stride": convs[2],
        "feat_extract_norm": "group" if config.extractor_norm == "group_norm" else "layer",
        "do_stable_layer_norm": config.norm_first,
        "conv_bias": config.conv_bias,
        "num_conv_pos_embeddings": config.pos_conv_kernel,
        "num_conv_pos_embedding_groups": config.pos_conv_groups,
        "num_buckets": config.num_buckets,
        "max_bucket_distance": config.max_distance,
    }
    (folder / "config.json").write_text(json.dumps(values))
    save_file(huggingface.TABLE.to_foreign(model.state_dict()), folder / "model.safetensors")
    return folder


def distiller_yaml(config: SpeechEncoderConfig) -> dict[str, Any]:
    """A published training yaml: its ``distiller`` block and a few others."""
    options = fairseq_options(config)
    for name in ("_name", "mask_prob"):
        options.pop(name)
    pattern = [record.attention == "full" for record in config.layers]
    options.update(
        layer_grad_scale=config.layer_grad_scale,
        reuse_pattern=str(pattern),
        attention_dropout=config.attention_dropout,
        activation_dropout=config.activation_dropout,
        encoder_layerdrop=0.0,
        dropout_input=config.dropout_input,
        layerwise_proj=True,
        pred_head_final_dim=config.head_dim or 768,
        required_seq_len_multiple=1,
        crop_seq_to_multiple=1,
        enable_tr_layer=False,
        layer_type="transformer",
        pred_layer_id="[11]",
        final_dim=256,
    )
    return {
        "teacher": {"teacher_model": "hubert.pt"},
        "train": {"num_epochs": 200},
        "distiller": options,
        "optimizer": {"name": "AdamW_with_schedule", "lr": 5e-3},
    }


def lightning_content(
    model: SpeechEncoder, with_config: bool = True, schedule: Any = None
) -> dict[str, Any]:
    """A published ``.ckpt``: student, teacher, optimiser and trainer state."""
    state = OrderedDict((STUDENT_PREFIX + name, t) for name, t in fairseq_weights(model).items())
    state["teacher_model.model.mask_emb"] = torch.zeros(8)
    cfg = distiller_yaml(model.config) if with_config else None
    return {
        "epoch": 199,
        "global_step": 390600,
        "pytorch-lightning_version": "1.7.7",
        "state_dict": state,
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {"ModelCheckpoint{'monitor': 'v_loss'}": {"best_model_score": torch.ones(())}},
        "optimizer_states": [
            {
                "state": {0: {"step": 4, "exp_avg": torch.zeros(3)}},
                "param_groups": [{"lr": 5e-3, "schedule": schedule, "params": [0]}],
            }
        ],
        "lr_schedulers": [],
        "native_amp_scaling_state": {"scale": 65536.0, "growth_tracker": 3},
        "hparams_name": "kwargs",
        "hyper_parameters": {"cfg": cfg, "model": model.config.family} if with_config else {},
    }


def foreign_object(monkeypatch: pytest.MonkeyPatch, path: str) -> Any:
    """An object whose pickle names class ``path``, made without that program."""
    module_name, _, name = path.rpartition(".")
    module: Any = types.ModuleType(module_name)
    cls = type(name, (), {"__module__": module_name})
    setattr(module, name, cls)
    parent = module_name.partition(".")[0]
    monkeypatch.setitem(sys.modules, parent, types.ModuleType(parent))
    monkeypatch.setitem(sys.modules, module_name, module)
    value = cls()
    value.warmup, value.t_total = 0.05, 1000
    return value


def save_yaml(content: Any, file: Path) -> Path:
    """Write a yaml file."""
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return file


def save(content: Any, file: Path) -> Path:
    """``torch.save`` that returns the file."""
    torch.save(content, file)
    return file
