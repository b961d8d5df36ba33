"""A model on disk: ``config.json`` and ``model.safetensors`` that belong together."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from espnet_kd.errors import CheckpointError
from espnet_kd.utils.files import atomic_path, write_json
from espnet_kd.utils.options import short

MODEL_TYPE = "espnet_kd_speech_encoder"
FORMAT_VERSION = 1
CONFIG_FILE = "config.json"
_LOAD_MODEL = "espnet_kd.load_model loads it"
_READERS = {
    MODEL_TYPE: _LOAD_MODEL,
    **dict.fromkeys(("hubert", "wav2vec2", "wavlm"), _LOAD_MODEL),
    "espnet_kd_quantizer": "espnet_kd.checkpoints.load_quantizer loads it",
    "whisper": "the commands espnet_kd.bin.whisper_* and espnet_kd.whisper.load_whisper take it",
}
"""By model type: what reads a folder that was given to something else."""

WEIGHTS_FILE = "model.safetensors"


def write_model(
    path: str | os.PathLike[str],
    config: Mapping[str, Any],
    state: Mapping[str, Tensor],
    *,
    model_type: str = MODEL_TYPE,
    block: str = "encoder",
) -> None:
    """Write configuration and weights; an earlier model there is replaced, or kept on failure.

    ``model_type`` says what model it is, ``block`` names its configuration's part of the file.

    Raises:
        CheckpointError: a model of another kind is there.
        KDError: the disk is full or the folder not writable.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    folder = Path(path)
    refuse_foreign_model(folder, model_type)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    # Both files are complete on the disk before the first one replaces its predecessor.
    with (
        atomic_path(folder / CONFIG_FILE) as new_config,
        atomic_path(folder / WEIGHTS_FILE) as new_weights,
    ):
        try:
            save_file(tensors, new_weights, metadata={"format": "pt"})
        except SafetensorError as error:  # how the library reports a full disk
            raise OSError(errno.EIO, str(error)) from error
        document = {
            "model_type": model_type,
            "format_version": FORMAT_VERSION,
            "weights_sha256": _sha256(new_weights),
            block: dict(config),
        }
        write_json(new_config, document)


def refuse_foreign_model(folder: Path, model_type: str) -> None:
    """See that a model to be written to ``folder`` replaces none of another kind.

    Files have the same names in all kinds, so that nothing else would stop it.

    Raises:
        CheckpointError: ``config.json`` is there and not of a ``model_type`` model.
    """
    file = folder / CONFIG_FILE
    try:
        if not file.is_file():
            return
        found = read_json(file).get("model_type")
    except OSError:  # a folder that cannot be entered; writing says so
        return
    except CheckpointError:
        found = "damaged or unknown"
    if found != model_type:
        raise CheckpointError(
            f"{folder} holds another model ({CONFIG_FILE}: {short(found)}), which one of type "
            f"{model_type} would replace; choose a new folder, or move it away"
        )


def read_model(
    path: str | os.PathLike[str], *, model_type: str = MODEL_TYPE, block: str = "encoder"
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Configuration and weights of a directory written by :func:`write_model`.

    Raises:
        CheckpointError: files missing, damaged, of another format, or not belonging together.
    """
    folder = Path(path)
    document = read_json(folder / CONFIG_FILE)
    if document.get("model_type") != model_type:
        raise CheckpointError(
            f"{folder / CONFIG_FILE} describes a {short(document.get('model_type'))} model, "
            f"not one of ours ({model_type}); {_remedy(document.get('model_type'))}"
        )
    version = document.get("format_version", 0)
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise CheckpointError(
            f"{folder} has format_version {short(version)}: "
            "written by a newer espnet_kd; upgrade this one"
        )
    weights = folder / WEIGHTS_FILE
    state = read_safetensors(weights)
    expected = document.get("weights_sha256")
    if expected and _sha256(weights) != expected:
        raise CheckpointError(
            f"{weights} is not the file that {CONFIG_FILE} was written for (its checksum differs): "
            "it is damaged or was replaced; restore both files together"
        )
    config = document.get(block)
    if not isinstance(config, dict):
        raise CheckpointError(f"{folder / CONFIG_FILE} has no `{block}` block; it is damaged")
    return config, state


def _remedy(found: Any) -> str:
    """What to do with a model of another type."""
    reader = _READERS.get(found) if isinstance(found, str) else None
    return reader or "nothing here reads that type, give another folder"


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        CheckpointError: the file is missing, no JSON, or not an object.
    """
    if not file.is_file():
        raise CheckpointError(f"{file} does not exist; a checkpoint directory needs it")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file} is not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{file} must hold a JSON object")
    return content


def read_safetensors(file: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file.

    Raises:
        CheckpointError: the file is missing, damaged or cut short.
    """
    if not file.is_file():
        raise CheckpointError(f"{file} does not exist; a checkpoint directory needs it")
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state: dict[str, Tensor] = load_file(file)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{file} ({file.stat().st_size:,} bytes) is damaged or cut short: {error}. Fetch "
            "or save it again."
        ) from None
    return state


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
