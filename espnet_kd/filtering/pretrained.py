"""Models of other kinds than Whisper from Hugging Face directories, without running their code.

A measure may use any architecture that transformers itself has. Its configuration is read by the
names that its class knows; keys that name code are refused, weights come from safetensors only,
and the attention is always ours to choose.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from espnet_kd.errors import CheckpointError
from espnet_kd.utils.options import problems_of, short
from espnet_kd.whisper.config import arguments_of, read_without_code

_COMMON = ("num_labels", "id2label", "label2id", "tie_word_embeddings", "is_decoder",
           "add_cross_attention", "bos_token_id", "eos_token_id", "pad_token_id",
           "is_encoder_decoder", "decoder_start_token_id")  # fmt: skip
"""Keys of every model's configuration that change what is computed."""


def read_model_type(folder: str | Path) -> str:
    """The ``model_type`` of a directory's config.json.

    Raises:
        CheckpointError: no directory, no such file, or one that names code to run.
    """
    return str(_read(Path(folder) / "config.json").get("model_type"))


def read_config(folder: str | Path) -> Any:
    """The transformers configuration of a directory, key by key.

    Raises:
        CheckpointError: an architecture that transformers does not have, or a key that names code.
        ConfigError: values that make no sense.
    """
    from transformers import CONFIG_MAPPING

    file = Path(folder) / "config.json"
    source = _read(file)
    kind = source.get("model_type")
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        raise CheckpointError(
            f"{file}: transformers has no model of type {short(kind)}; models that bring their own "
            "code are not used"
        )
    with problems_of(str(file)):
        return _build(CONFIG_MAPPING[kind], source, file)


def load_model(auto_class: Any, folder: str | Path, *, device: str = "cpu") -> Any:
    """Load a model in eval mode and float32.

    Args:
        auto_class: an ``AutoModel...`` of transformers, or a model class.
        folder: Hugging Face directory with model.safetensors.
        device: where it goes.

    Raises:
        CheckpointError: files missing or damaged, weights missing, or another kind of model.
    """
    config = read_config(folder)
    try:
        model, loading = auto_class.from_pretrained(
            folder,
            config=config,
            attn_implementation="eager",  # the one that every architecture has
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(f"{folder} cannot be loaded: {reason:.300}") from None
    missing = sorted(loading["missing_keys"])
    if missing or loading["mismatched_keys"]:
        raise CheckpointError(
            f"{folder} lacks weights of the model that is needed, e.g. "
            f"{(missing or loading['mismatched_keys'])[0]}; take another model or its complete "
            "directory"
        )
    return model.eval().to(device)


def load_tokenizer(folder: str | Path) -> Any:
    """Load a tokenizer.

    Raises:
        CheckpointError: files missing or damaged, or a tokenizer that brings its own code.
    """
    from transformers import AutoTokenizer

    return _from_folder(AutoTokenizer, "tokenizer", Path(folder), "tokenizer_config.json")


def load_feature_extractor(folder: str | Path) -> Any:
    """Load a feature extractor.

    Raises:
        CheckpointError: as :func:`load_tokenizer`.
    """
    from transformers import AutoFeatureExtractor

    return _from_folder(
        AutoFeatureExtractor, "feature extractor", Path(folder), "preprocessor_config.json"
    )


def _from_folder(auto_class: Any, what: str, folder: Path, settings: str) -> Any:
    if (folder / settings).is_file():
        _read(folder / settings)
    try:
        return auto_class.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # tokenizers raises the bare class
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(f"{folder}: the {what} cannot be loaded: {reason:.300}") from None


def _read(file: Path) -> dict[str, Any]:
    if not file.parent.is_dir():
        raise CheckpointError(f"{file.parent} is not a directory; download the model first")
    return read_without_code(file, "Take a model that transformers itself has")


def _build(cls: Any, source: Mapping[str, Any], file: Path) -> Any:
    """A configuration of ``cls`` from the keys that it names, nested ones likewise."""
    known = {*arguments_of(cls), *_COMMON}
    nested: Mapping[str, Any] = getattr(cls, "sub_configs", {})
    values: dict[str, Any] = {}
    for key in known & set(source):
        value = source[key]
        inner = nested.get(key)
        if isinstance(value, Mapping) and inspect.isclass(inner) and hasattr(inner, "from_dict"):
            value = _build(inner, value, file).to_dict()
        values[key] = value
    if not values:
        warnings.warn(f"{file}: no key of {cls.__name__} is set", stacklevel=3)
    return cls(**values)
