"""Configuration files of a Whisper directory, read key by key: nothing in them names code to run.

Transformers builds whatever a configuration says, up to code of the model's author or kernels from
the hub. Here only the keys of the tables below are read; keys that ask for code are refused.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from espnet_kd.errors import CheckpointError
from espnet_kd.utils.model_directory import read_json
from espnet_kd.utils.options import problems_of, short

CONFIG_FILE = "config.json"
GENERATION_FILE = "generation_config.json"
PREPROCESSOR_FILE = "preprocessor_config.json"
TOKENIZER_FILE = "tokenizer_config.json"

POSITIONS_PER_SECOND = 50
"""Encoder positions of one second of audio: 100 feature frames, after a stride of 2."""

DECODING = ("suppress_tokens", "begin_suppress_tokens")
"""Keys that older configurations hold and that now stand in the generation configuration."""

WHISPER_GENERATION = (
    *("alignment_heads", "is_multilingual", "lang_to_id", "language", "task", "task_to_id"),
    *("max_initial_timestamp_index", "median_filter_width", "no_timestamps_token_id"),
    *("prev_sot_token_id", "return_timestamps"),
)
"""Keys of a Whisper's generation configuration beside those that all models have."""

NAMES_CODE = ("auto_map", "trust_remote_code", "custom_pipelines")
"""Keys that ask transformers to run code of the model's author."""


def read_config(folder: Path) -> Any:
    """The ``WhisperConfig`` of a directory.

    What steers decoding is left to the generation configuration, where it belongs; of it,
    ``forced_decoder_ids`` would silently override language and task.

    Raises:
        CheckpointError: no config.json, another model type, or a key that names code.
        ConfigError: values that make no sense.
    """
    from transformers import WhisperConfig

    file = folder / CONFIG_FILE
    source = _read(file)
    if source.get("model_type") != "whisper":
        raise CheckpointError(
            f"{file} describes a {short(source.get('model_type'))} model, not a Whisper"
        )
    wanted = [name for name in arguments_of(WhisperConfig) if name not in DECODING]
    values = _select(source, wanted, _keys_of_any_config(), file)
    with problems_of(str(file)):
        return WhisperConfig(**values, **dict.fromkeys(DECODING))


def read_generation_config(folder: Path) -> Any | None:
    """The ``GenerationConfig`` of a directory without ``forced_decoder_ids``, None if it has none.

    Raises:
        CheckpointError: damaged, or a key that names code.
    """
    from transformers import GenerationConfig

    file = folder / GENERATION_FILE
    if not file.is_file():
        return None
    usual = (key for key in vars(GenerationConfig()) if not key.startswith("_"))
    unused = ("_from_model_config", "_commit_hash", "forced_decoder_ids", "use_scan")
    values = _select(_read(file), (*usual, *WHISPER_GENERATION), unused, file)
    with problems_of(str(file)):
        config = GenerationConfig.from_dict(values)
    forget_forced_tokens(config)
    return config


def forget_forced_tokens(config: Any) -> None:
    """Remove ``forced_decoder_ids`` from a model's or a generation configuration, where it is.

    ``generate`` looks it up in both when neither language nor task is given.
    """
    if hasattr(config, "forced_decoder_ids"):
        delattr(config, "forced_decoder_ids")


def read_feature_extractor(folder: Path) -> Any:
    """The ``WhisperFeatureExtractor`` of a directory.

    Raises:
        CheckpointError: no preprocessor_config.json, or a key that names code.
        ConfigError: values that make no sense.
    """
    from transformers import WhisperFeatureExtractor

    file = folder / PREPROCESSOR_FILE
    known = ("feature_extractor_type", "processor_class", "mel_filters", "n_samples",
             "nb_max_frames", "padding_side", "image_processor_type")  # fmt: skip
    values = _select(_read(file), arguments_of(WhisperFeatureExtractor), known, file)
    with problems_of(str(file)):
        return WhisperFeatureExtractor(**values)


def check_tokenizer_config(folder: Path) -> None:
    """Refuse a tokenizer_config.json that names code (transformers reads the rest of it).

    Raises:
        CheckpointError: it does, or it is damaged.
    """
    if (folder / TOKENIZER_FILE).is_file():
        _read(folder / TOKENIZER_FILE)


def arguments_of(cls: Any) -> list[str]:
    """Named arguments of a class's constructor."""
    parameters = inspect.signature(cls.__init__).parameters.values()
    return [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.name != "self"]


def _read(file: Path) -> dict[str, Any]:
    return read_without_code(
        file, "A Whisper model needs none: remove these keys if you trust the rest of the file"
    )


def read_without_code(file: Path, remedy: str) -> dict[str, Any]:
    """A JSON file of a model directory that must not name code to run.

    Args:
        file: the file.
        remedy: sentence, without its full stop, on what to do about one that does.

    Raises:
        CheckpointError: it does, it is missing, or it is damaged.
    """
    source = read_json(file)
    asked = [key for key in NAMES_CODE if source.get(key)]
    if asked:
        raise CheckpointError(
            f"{file} names code to run ({', '.join(asked)}); it is never run. {remedy}"
        )
    return source


def _select(
    source: Mapping[str, Any], wanted: Iterable[str], known: Iterable[str], file: Path
) -> dict[str, Any]:
    """The values of ``wanted`` keys; one warning names the keys that are not even ``known``."""
    wanted = set(wanted)
    strange = sorted(set(source) - wanted - set(known))
    if strange:
        listed = ", ".join(f"{key:.60}" for key in strange[:8])
        warnings.warn(f"{file}: ignored unknown key(s) {listed}", stacklevel=4)
    return {key: value for key, value in source.items() if key in wanted}


@functools.cache
def _keys_of_any_config() -> frozenset[str]:
    """Keys that transformers itself writes into a Whisper's config.json, of no use here."""
    from transformers import WhisperConfig

    others = (
        "torch_dtype",
        "forced_decoder_ids",
        "_attn_implementation_autoset",
        "num_hidden_layers",
    )
    return frozenset((*WhisperConfig().to_dict(), "architectures", "max_length", *others))
