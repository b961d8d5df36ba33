"""One call for every format: what a path holds is told from its content."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from espnet_kd.checkpoints import armhubert, dphubert, fairseq, huggingface, native, torchaudio
from espnet_kd.checkpoints.unpickle import read_pickle
from espnet_kd.encoder import SpeechEncoder
from espnet_kd.errors import CheckpointError
from espnet_kd.utils.model_directory import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    read_json,
    read_safetensors,
)

Loader = Callable[..., SpeechEncoder]
Writer = Callable[[SpeechEncoder, Path], None]

FORMATS: dict[str, Loader] = {
    "armhubert": armhubert.load_armhubert,
    "dphubert": dphubert.load_dphubert,
    "fairseq": fairseq.load_fairseq,
    "huggingface": huggingface.load_huggingface,
    "torchaudio": torchaudio.load_torchaudio,
}
"""Foreign formats by the name that ``bin.convert --from`` takes."""

WRITERS: dict[str, Writer] = {"dphubert": dphubert.save_dphubert, "native": native.save_native}
"""Formats that can be written, by the name that ``bin.convert --to`` takes."""


def load_model(
    path: str | os.PathLike[str], config: str | os.PathLike[str] | None = None, **overrides: Any
) -> SpeechEncoder:
    """Load any supported checkpoint as one encoder in eval mode.

    Args:
        path: a native or Hugging Face directory, or a published ``.ckpt``, ``.pt`` or ``.pth``.
        config: the ``.yaml`` (torchaudio and ``.safetensors``: ``.json``) that goes with a file,
            if it needs one.
        **overrides: configuration fields to change, e.g. ``reuse_mode="ref"``.

    Raises:
        CheckpointError: nothing there, an unknown format, or a damaged checkpoint.
        ConfigError: overrides or configuration values that make no sense.
    """
    location = Path(path)
    if location.is_dir():
        return _load_directory(location, overrides)
    if location.name == WEIGHTS_FILE and (location.parent / CONFIG_FILE).is_file():
        return _load_directory(location.parent, overrides)
    if not location.exists():
        raise CheckpointError(
            f"{location} does not exist; give a checkpoint directory or a published file"
        )
    if location.suffix == ".safetensors":
        return _load_safetensors(location, config, overrides)
    return _load_file(location, config, overrides)


def _load_directory(folder: Path, overrides: Mapping[str, Any]) -> SpeechEncoder:
    _refuse_run(folder)
    if huggingface.is_huggingface(folder):
        return huggingface.load_huggingface(folder, **overrides)
    return native.load_native(folder, **overrides)


def _refuse_run(folder: Path) -> None:
    """A run's folder has its model in a folder inside it, or in epoch files."""
    if (folder / CONFIG_FILE).is_file():
        return
    if (folder / "student" / CONFIG_FILE).is_file():
        raise CheckpointError(f"{folder} is a run, not a model; give {folder / 'student'}")
    if (folder / "config.yaml").is_file():
        raise CheckpointError(
            f"{folder} is a run, not a model; `python -m espnet_kd.bin.export --exp {folder} "
            "--dst NEW_FOLDER` makes a model of its best epochs"
        )


def _load_safetensors(
    file: Path, config: str | os.PathLike[str] | None, overrides: Mapping[str, Any]
) -> SpeechEncoder:
    if dphubert.CHANNEL_SCALE in read_safetensors(file):
        return dphubert.load_dphubert(file, config, **overrides)
    return torchaudio.load_torchaudio(file, config, **overrides)


def _load_file(
    file: Path, config: str | os.PathLike[str] | None, overrides: Mapping[str, Any]
) -> SpeechEncoder:
    content = read_pickle(file)
    print(
        f"{file}: a published pickle; `python -m espnet_kd.bin.convert` makes a directory "
        "that is safer and faster to load",
        file=sys.stderr,
    )
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{file} holds a {type(content).__name__}, not a checkpoint")
    state = content.get("state_dict")
    if isinstance(state, Mapping) and any(
        str(name).startswith(armhubert.STUDENT_PREFIX) for name in state
    ):
        return armhubert.from_content(content, str(file), config, overrides)
    if "model" in content and ("cfg" in content or "args" in content):
        return fairseq.from_content(content, str(file), overrides)
    if dphubert.is_dphubert(content):
        return dphubert.from_content(content["config"], state, str(file), overrides)
    options = {} if config is None else read_json(Path(config))
    return torchaudio.from_content(content, str(file), options, overrides)
