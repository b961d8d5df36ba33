"""From ``--student`` and ``--student_conf`` to a Whisper that is trained."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from espnet_kd.errors import ConfigError
from espnet_kd.tasks.whisper_teacher import ATTENTION
from espnet_kd.utils.options import from_mapping, too_small
from espnet_kd.whisper.load import WhisperBundle, build_model, load_whisper

_PLACES = ("attn_implementation", "subfolder", "revision", "cache_dir")
"""Options that say where the model is and how it computes, not what it is."""


@dataclass(kw_only=True)
class StudentOptions:
    """All of ``--student_conf``; null = as the model's own configuration has it."""

    dropout: float | None = None
    """Dropout of the trained layers (published 0)."""

    attention_dropout: float | None = None
    """Dropout of attention weights (published 0)."""

    activation_dropout: float | None = None
    """Dropout inside the feed-forward parts (published 0)."""

    encoder_layerdrop: float | None = None
    """Probability of skipping an encoder layer in a training batch (published 0)."""

    decoder_layerdrop: float | None = None
    """Probability of skipping a decoder layer in a training batch (published 0)."""

    apply_spec_augment: bool | None = None
    """Mask stretches of the features in training (published: no; distil-large-v3.5: yes)."""

    mask_time_prob: float | None = None
    """Share of frames that SpecAugment masks."""

    mask_time_length: int | None = None
    """Length of a stretch in frames."""

    mask_time_min_masks: int | None = None
    """Fewest stretches of an utterance."""

    mask_feature_prob: float | None = None
    """Share of mel bins that SpecAugment masks."""

    mask_feature_length: int | None = None
    """Width of a stretch in mel bins."""

    mask_feature_min_masks: int | None = None
    """Fewest stretches of mel bins."""

    attn_implementation: str = "sdpa"
    """sdpa, eager or flash_attention_2."""

    subfolder: str = ""
    """Folder inside the checkpoint."""

    revision: str | None = None
    """Commit or tag of a hub repository."""

    cache_dir: str | None = None
    """Where downloads are kept."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> StudentOptions:
        """Build from YAML values.

        Raises:
            ConfigError: unknown keys, wrong types and impossible values.
        """
        options = from_mapping(cls, values, subject="student_conf")
        problems = [
            f"{field.name} is {value}; it must lie between 0 and 1"
            for field in dataclasses.fields(cls)
            if field.name.endswith(("dropout", "layerdrop", "_prob"))
            and (value := getattr(options, field.name)) is not None
            and not 0 <= value <= 1
        ]
        for ending, least in (("_length", 1), ("_min_masks", 0)):
            names = [field.name for field in dataclasses.fields(cls)]
            problems += too_small(options, {n: least for n in names if n.endswith(ending)})
        if options.attn_implementation not in ATTENTION:
            problems.append(
                f"attn_implementation is {options.attn_implementation!r}; choose "
                f"{', '.join(ATTENTION)}"
            )
        if problems:
            raise ConfigError("student_conf", problems)
        return options

    def changes(self) -> dict[str, Any]:
        """Fields of the model's configuration to set."""
        values = dataclasses.asdict(self)
        return {k: v for k, v in values.items() if k not in _PLACES and v is not None}


def load_student(name: str, conf: Mapping[str, Any]) -> WhisperBundle:
    """Load the model of ``--student`` in float32 with the changes of ``--student_conf``.

    Raises:
        ConfigError: unknown options.
        CheckpointError: no such model, or a damaged one.
    """
    options = StudentOptions.from_dict(conf)
    bundle = load_whisper(
        name,
        attn_implementation=options.attn_implementation,
        subfolder=options.subfolder,
        revision=options.revision,
        cache_dir=options.cache_dir,
    )
    changes = options.changes()
    if not changes:
        return bundle
    # Layers read their dropout when they are built.
    config = copy.deepcopy(bundle.model.config)
    config.update(changes)
    model = build_model(
        config,
        bundle.model.state_dict(),
        name,
        attn_implementation=options.attn_implementation,
    )
    model.generation_config = bundle.model.generation_config
    return dataclasses.replace(bundle, model=model)
