"""Quantisers on disk: the published file, and our directory.

The published file is a state dict without configuration; the sizes are those of its tensors.
"""

from __future__ import annotations

import dataclasses
import errno
import os
import pickle
from pathlib import Path

import torch
from torch import Tensor

from espnet_kd.checkpoints.unpickle import read_pickle
from espnet_kd.errors import CheckpointError, ConfigError
from espnet_kd.quantizer import Quantizer, QuantizerConfig
from espnet_kd.utils.files import atomic_path
from espnet_kd.utils.model_directory import read_model, write_model
from espnet_kd.utils.options import from_mapping
from espnet_kd.utils.weights import as_weights, load_strictly

MODEL_TYPE = "espnet_kd_quantizer"
_BLOCK = "quantizer"


def save_quantizer(quantizer: Quantizer, path: str | os.PathLike[str]) -> None:
    """Write ``config.json`` and ``model.safetensors`` into directory ``path``, atomically."""
    config = dataclasses.asdict(quantizer.config)
    write_model(path, config, quantizer.state_dict(), model_type=MODEL_TYPE, block=_BLOCK)


def save_published_quantizer(quantizer: Quantizer, path: str | os.PathLike[str]) -> None:
    """Write the published file (``.pt``: the state dict alone), atomically."""
    state = {name: tensor.detach().cpu() for name, tensor in quantizer.state_dict().items()}
    with atomic_path(path) as temporary:
        try:
            torch.save(state, temporary)
        except (RuntimeError, pickle.PicklingError) as error:  # torch's word for a full disk
            raise OSError(errno.EIO, str(error).splitlines()[0]) from error


def load_quantizer(path: str | os.PathLike[str]) -> Quantizer:
    """A quantiser from our directory or from a published file, in eval mode.

    Raises:
        CheckpointError: missing, damaged, or no quantiser.
    """
    source = Path(path)
    try:
        if source.is_dir():
            values, state = read_model(source, model_type=MODEL_TYPE, block=_BLOCK)
            config = from_mapping(QuantizerConfig, values, subject=str(source))
        else:
            state = as_weights(read_pickle(source), str(source))
            config = _config_of(state, source)
    except ConfigError as error:
        raise CheckpointError(f"{source} is no quantiser of ours: {error}") from None
    quantizer = Quantizer(config)
    load_strictly(quantizer, state, str(source))
    return quantizer.eval()


def _config_of(state: dict[str, Tensor], source: Path) -> QuantizerConfig:
    centres = state.get("centers")
    if centres is None or centres.dim() != 3:
        raise CheckpointError(
            f"{source} has no `centers` of three dimensions: not a multi-codebook quantiser. "
            "Expected is the file that train_quantizer, or the published package, wrote"
        )
    number, size, dim = centres.shape
    return QuantizerConfig(dim, number, size)
