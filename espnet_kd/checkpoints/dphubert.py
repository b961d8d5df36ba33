"""DPHuBERT's and DPWavLM's files, read and written: ``{config, state_dict, distill_linear_projs}``.

The layout holds any HuBERT, wav2vec 2.0 or WavLM, whole or pruned. Frames count as padding by the
convolutions' length formula there; an encoder with fairseq's rule (``frame_padding: chunked``) can
be written, but gives other features for the shorter utterances of a batch when it is read again.
Source: spec dphubert.md 2.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from espnet_kd.checkpoints.dphubert_config import from_ours, not_expressible, to_ours
from espnet_kd.checkpoints.dphubert_options import DPHuBERTOptions, read_options
from espnet_kd.checkpoints.names import NameTable
from espnet_kd.checkpoints.torchaudio import ENCODER_NAMES
from espnet_kd.checkpoints.unpickle import read_pickle
from espnet_kd.encoder import SpeechEncoder
from espnet_kd.encoder.build import build_encoder
from espnet_kd.errors import CheckpointError, ConfigError
from espnet_kd.pruning.gates import EncoderGates
from espnet_kd.utils.files import atomic_path
from espnet_kd.utils.model_directory import read_json, read_safetensors
from espnet_kd.utils.weights import as_weights, check_fit

CHANNEL_SCALE = "feature_extractor.dummy_weight"
_OUR_SCALE = "feature_extractor.channel_scale"
_POS = "encoder.transformer.pos_conv_embed.conv.weight_"
_OUR_POS = "pos_conv.conv.parametrizations.weight.original"
_LAYER = "encoder.transformer.layers.{i}."

TABLE = NameTable(
    [
        (CHANNEL_SCALE, _OUR_SCALE),
        # Before the names that newer versions of torch give: these are the published ones.
        (_POS + "g", _OUR_POS + "0"),
        (_POS + "v", _OUR_POS + "1"),
        *ENCODER_NAMES,
    ]
)
GATES = NameTable(
    [
        ("feature_extractor.conv_layers.{i}.hard_concrete.log_alpha", "conv_{i}"),
        (_LAYER + "attention.hard_concrete_for_heads.log_alpha", "head_{i}"),
        (_LAYER + "attention.hard_concrete_for_layer.log_alpha", "attlayer_{i}"),
        (_LAYER + "feed_forward.hard_concrete_for_intermediate.log_alpha", "interm_{i}"),
        (_LAYER + "feed_forward.hard_concrete_for_layer.log_alpha", "ffnlayer_{i}"),
    ]
)
PROJECTIONS = NameTable([("{i}.{p}", "{i}.{p}")])


# --- Reading
def load_dphubert(
    path: str | os.PathLike[str], config: str | os.PathLike[str] | None = None, **overrides: Any
) -> SpeechEncoder:
    """Load a ``.pth`` file, or a ``.safetensors`` file and the ``.json`` of its ``config``.

    The projections of the distillation are left out; :func:`read_projections` returns them.

    Raises:
        CheckpointError: not such a file, damaged, with gates, or weights that do not fit.
        ConfigError: unknown, missing or impossible options, all listed.
    """
    content = _read(path, config)
    return from_content(content["config"], content["state_dict"], str(path), overrides)


def from_content(
    config: Any, state: Any, source: str, overrides: Mapping[str, Any]
) -> SpeechEncoder:
    """Build from the two parts of a file."""
    options = read_options(config, source)
    weights = as_weights(state, source)
    if options.units or any(".hard_concrete" in name for name in weights):
        raise CheckpointError(
            f"{source} is a model with gates from the middle of its training, not a pruned one; "
            "prune it first: with its authors' prune.py, or with read_gated and prune_encoder"
        )
    return _build(options, weights, source, overrides)


def read_gated(
    config: Any, state: Any, source: str, overrides: Mapping[str, Any] | None = None
) -> tuple[SpeechEncoder, dict[str, Tensor]]:
    """The encoder of a model with gates, and each gate's log_alpha by our name (``head_3``).

    Args:
        config: the file's ``config``; its prune flags say which gates there are.
        state: the file's ``state_dict``.
        source: name of the file for messages.
        overrides: configuration fields to change.

    Raises:
        CheckpointError: weights or gates that do not fit the configuration.
    """
    options = read_options(config, source)
    weights = as_weights(state, source)
    gates = {name: tensor for name, tensor in weights.items() if ".hard_concrete" in name}
    rest = {name: tensor for name, tensor in weights.items() if name not in gates}
    encoder = _build(options, rest, source, overrides or {})
    log_alphas = GATES.to_ours(gates, source)
    expected = EncoderGates(encoder.config, options.units)
    own = {f"gates.{name}.log_alpha": tensor for name, tensor in log_alphas.items()}
    check_fit(expected, own, f"{source} (gates)")
    return encoder, log_alphas


def read_projections(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The linear layers that the distillation trained, as ``{j}.weight`` and ``{j}.bias``.

    ``j`` counts the distilled layers; layers of one group share a tensor's values. Empty if the
    file has none.

    Raises:
        CheckpointError: not such a file, or other names than these.
    """
    stored = _read(path, None).get("distill_linear_projs", {})
    return PROJECTIONS.to_ours(as_weights(stored, str(path)), str(path))


def is_dphubert(content: Mapping[Any, Any]) -> bool:
    """Whether an unpickled file has this layout."""
    return all(isinstance(content.get(key), Mapping) for key in ("config", "state_dict"))


def _read(path: str | os.PathLike[str], config: str | os.PathLike[str] | None) -> Any:
    file = Path(path)
    if file.suffix == ".safetensors":
        if config is None:
            raise CheckpointError(f"{file} holds weights alone; give its configuration as a .json")
        return {"config": read_json(Path(config)), "state_dict": read_safetensors(file)}
    if config is not None:
        raise CheckpointError("DPHuBERT's files carry their own configuration; leave --config out")
    content = read_pickle(file)
    if not isinstance(content, Mapping) or not is_dphubert(content):
        raise CheckpointError(
            f"{file} is not a DPHuBERT checkpoint: it needs `config` and `state_dict`"
        )
    return content


def _build(
    options: DPHuBERTOptions,
    weights: Mapping[str, Tensor],
    source: str,
    overrides: Mapping[str, Any],
) -> SpeechEncoder:
    return build_encoder(
        to_ours(options, source), TABLE.to_ours(weights, source), source, overrides
    )


# --- Writing
def to_content(
    model: SpeechEncoder, projections: Mapping[str, Tensor] | None = None
) -> dict[str, Any]:
    """What :func:`save_dphubert` writes: plain dicts and float32 tensors on the CPU.

    Raises:
        ConfigError: all properties of the encoder that this layout has no place for.
    """
    problems = not_expressible(model.config)
    if problems:
        raise ConfigError("DPHuBERT's layout cannot hold this encoder", problems)
    state = {name: t for name, t in model.state_dict().items() if name != "mask_embedding"}
    state.setdefault(_OUR_SCALE, torch.ones(model.config.conv_dim))
    projections = PROJECTIONS.to_foreign(projections or {}, "the projections")
    return {
        "config": from_ours(model.config),
        "state_dict": _plain(TABLE.to_foreign(state)),
        "distill_linear_projs": _plain(projections),
    }


def save_dphubert(
    model: SpeechEncoder,
    path: str | os.PathLike[str],
    projections: Mapping[str, Tensor] | None = None,
) -> None:
    """Write ``model`` in the published layout, atomically; the authors' programs read it.

    The mask embedding is left out, since no part of that layout masks frames.

    Args:
        model: HuBERT, wav2vec 2.0 or WavLM, whole or pruned.
        path: file to write, usually ``.pth``.
        projections: linear layers of the distillation, as :func:`read_projections` returns them;
            the authors' second training phase needs them.

    Raises:
        ConfigError: the encoder has something that this layout has no place for.
        KDError: the disk is full or the folder not writable.
    """
    content = to_content(model, projections)
    with atomic_path(path) as temporary:
        try:
            torch.save(content, temporary)
        except RuntimeError as error:  # how torch reports a full disk
            raise OSError(errno.EIO, str(error).splitlines()[0]) from error


def _plain(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies, for a view would be stored with all of what it is a view of."""
    return {
        name: tensor.detach().to("cpu", torch.float32, copy=True).contiguous()
        for name, tensor in state.items()
    }


__all__ = [
    "from_content",
    "is_dphubert",
    "load_dphubert",
    "read_gated",
    "read_projections",
    "save_dphubert",
    "to_content",
]
