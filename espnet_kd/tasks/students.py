"""From ``--student`` and ``--student_conf`` to an encoder configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from espnet_kd.encoder import SpeechEncoderConfig
from espnet_kd.encoder.architectures import architecture, list_architectures
from espnet_kd.errors import CheckpointError, ConfigError
from espnet_kd.utils.model_directory import CONFIG_FILE, MODEL_TYPE, read_json
from espnet_kd.utils.options import unknown_key

_PATTERN = {True: "full", False: "reused"}


def student_config(name: str, conf: Mapping[str, Any]) -> SpeechEncoderConfig:
    """An architecture or a saved student, with changes.

    Args:
        name: one of ``list_architectures()``, or a folder with our ``config.json``.
        conf: fields of :class:`SpeechEncoderConfig` to change. ``layers`` may be the list of
            records,
            or one mapping for equal layers: ``{num_layers: 4, num_heads: 4, ffn_dim: 256}``, with
            ``reuse_pattern: [true, false, ...]`` (true = computes its attention map) if wanted.

    Raises:
        ConfigError: unknown name, unknown or impossible fields, all at once.
    """
    base = _base(name)
    values = dict(conf)
    if isinstance(values.get("layers"), Mapping):
        values["layers"] = _equal_layers(base, values["layers"])
    return SpeechEncoderConfig.from_dict({**base.to_dict(), **values})


def _base(name: str) -> SpeechEncoderConfig:
    if (Path(name) / CONFIG_FILE).is_file():
        return saved_config(name)
    if name not in list_architectures():
        raise ConfigError(
            "student",
            [f"{unknown_key(name, list_architectures())} (nor a folder with config.json)"],
        )
    return architecture(name)


def saved_config(folder: str) -> SpeechEncoderConfig:
    """The configuration of a saved student, without reading its weights.

    Raises:
        CheckpointError: the folder is not one of ours.
    """
    document = read_json(Path(folder) / CONFIG_FILE)
    if document.get("model_type") != MODEL_TYPE:
        raise CheckpointError(
            f"{folder} is not a folder of ours; python -m espnet_kd.bin.convert makes one of it"
        )
    return SpeechEncoderConfig.from_dict(document.get("encoder", {}))


def _equal_layers(base: SpeechEncoderConfig, conf: Mapping[str, Any]) -> list[dict[str, Any]]:
    record = dict(conf)
    pattern = record.pop("reuse_pattern", None)
    number = record.pop("num_layers", base.num_layers if pattern is None else len(pattern))
    if pattern is None:
        pattern = [True] * number
    problems = []
    if not isinstance(number, int) or number < 1:
        problems.append(f"layers.num_layers is {number!r}; a positive whole number")
    elif not isinstance(pattern, list) or len(pattern) != number:
        problems.append(f"layers.reuse_pattern has not one entry for each of the {number} layers")
    elif not all(isinstance(entry, bool) for entry in pattern):
        problems.append("layers.reuse_pattern: write true (computes its map) or false (reuses one)")
    if problems:
        raise ConfigError("student_conf", problems)
    return [{**record, "attention": _PATTERN[full]} for full in pattern]
