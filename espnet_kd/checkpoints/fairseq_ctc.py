"""fairseq's fine-tuned files (``hubert_ctc``, ``wav2vec_ctc``): an encoder with a CTC projection.

The encoder's weights are under ``w2v_encoder.w2v_model.``, its options in ``w2v_args`` of the
``model`` block; the projection is ``w2v_encoder.proj``. Folders of Hugging Face's ``...ForCTC``
have it as ``lm_head``.

Shapes: V labels, D width.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from espnet_kd.checkpoints.unpickle import read_pickle
from espnet_kd.errors import CheckpointError
from espnet_kd.utils.model_directory import read_safetensors
from espnet_kd.utils.weights import as_weights

_ENCODER = "w2v_encoder.w2v_model."
_HEADS = ("w2v_encoder.proj.", "lm_head.")


def is_fine_tuned(content: Mapping[str, Any]) -> bool:
    """Whether an unpickled file is one of a fine-tuned encoder."""
    names = content.get("model")
    return isinstance(names, Mapping) and any(str(name).startswith(_ENCODER) for name in names)


def encoder_part(content: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The file as it was before fine-tuning: options and weights of the encoder alone.

    Args:
        content: an unpickled file for which :func:`is_fine_tuned` is true.
        source: its name, for messages.

    Raises:
        CheckpointError: the options of the encoder are not in it.
    """
    outer, normalize = _outer_options(content)
    inner = _mapping(outer.get("w2v_args"))
    model, task = _mapping(inner.get("model")), _mapping(inner.get("task"))
    if not model and "encoder_layers" in inner:  # files of before 2021: one flat namespace
        model, task = inner, inner
    if "encoder_layers" not in model:
        raise CheckpointError(
            f"{source} is a fine-tuned model, but the options of its encoder (w2v_args) are not in "
            "it; load it once with fairseq and save it again, or use Hugging Face's folder of it"
        )
    weights = {
        str(name)[len(_ENCODER) :]: tensor
        for name, tensor in content["model"].items()
        if str(name).startswith(_ENCODER)
    }
    normalize = normalize or bool(task.get("normalize"))
    return {"cfg": {"model": model, "task": {"normalize": normalize}}, "model": weights}


def _outer_options(content: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool]:
    """The ``model`` block, and whether block or task say that waveforms are normalised."""
    cfg = _mapping(content.get("cfg")) or _mapping(content.get("args"))
    block = _mapping(cfg.get("model")) or cfg
    task = _mapping(cfg.get("task"))
    return block, bool(block.get("normalize")) or bool(task.get("normalize"))


def _mapping(value: Any) -> Mapping[str, Any]:
    if isinstance(value, argparse.Namespace):
        return vars(value)
    return value if isinstance(value, Mapping) else {}


def load_ctc_head(path: str | os.PathLike[str]) -> nn.Linear:
    """The CTC projection (V, D) of a fairseq file or a Hugging Face folder.

    Raises:
        CheckpointError: it cannot be read, or has no projection: it was not fine-tuned with CTC.
    """
    weights = _weights(Path(path))
    for prefix in _HEADS:
        if f"{prefix}weight" in weights:
            return _linear(weights[f"{prefix}weight"], weights.get(f"{prefix}bias"), path)
    raise CheckpointError(
        f"{path} has no CTC projection ({' or '.join(_HEADS)}): only models that were fine-tuned "
        "with CTC transcribe"
    )


def _weights(path: Path) -> dict[str, Tensor]:
    if not path.is_dir():
        content = read_pickle(path)
        model = content.get("model") if isinstance(content, Mapping) else None
        return as_weights(model if model is not None else content, str(path))
    if (path / "model.safetensors").is_file():
        return read_safetensors(path / "model.safetensors")
    return as_weights(read_pickle(path / "pytorch_model.bin"), str(path))


def _linear(weight_VD: Tensor, bias_V: Tensor | None, path: Any) -> nn.Linear:
    if weight_VD.dim() != 2 or (bias_V is not None and bias_V.shape != weight_VD.shape[:1]):
        raise CheckpointError(f"{path}: its CTC projection has no possible shape")
    head = nn.Linear(weight_VD.shape[1], weight_VD.shape[0], bias=bias_V is not None)
    state = {"weight": weight_VD} | ({} if bias_V is None else {"bias": bias_V})
    head.load_state_dict(state)
    return head.eval().requires_grad_(False)
