"""The options of ``--kd_conf`` of a Whisper distillation, named as in Distil-Whisper's command.

Fine-tuning without a teacher and training on pseudo-labels alone are the same options: no
``--teacher`` and ``use_pseudo_labels: false``, or ``kl_weight: 0``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from espnet_kd.data.dataset_strings import parse_samples
from espnet_kd.errors import ConfigError
from espnet_kd.utils.options import from_mapping
from espnet_kd.whisper.labels import LabelOptions
from espnet_kd.whisper.normalisers import NAMES as NORMALISERS
from espnet_kd.whisper.parameters import Freezing
from espnet_kd.whisper.specials import TASKS

CE_WEIGHT = 0.8
"""Published weight of the cross-entropy beside the divergence."""

AVERAGES = ("update", "micro_batch")
RATE_POLICIES = ("error", "resample")
CHANNELS = ("error", "first")


@dataclass(kw_only=True)
class WhisperDistillConfig:
    """All of ``--kd_conf``; what comes from users goes through :meth:`from_dict`."""

    # Loss
    temperature: float = 2.0
    """Of teacher and student in the divergence; validation has 1 (published 2.0)."""

    kl_weight: float = 1.0
    """Weight of the divergence from the teacher (published 1.0); 0 needs no teacher."""

    ce_weight: float | None = None
    """Weight of the cross-entropy with the labels; null = 0.8 beside the divergence (the published
    code; the paper has the two weights the other way round), 1.0 alone."""

    mse_weight: float = 0.0
    """Weight of the squared difference between hidden states of student and teacher; needs equal
    widths (published 0)."""

    share_hidden_states: bool | None = None
    """The teacher's decoder looks at the student's encoder states. null = wherever both encoders
    are equal and the student's is frozen; true = insist on that; false = never."""

    teacher_sees_prompt: bool = True
    """False gives a teacher that shares the encoder padding in place of prompts, as published."""

    average_over: str = "update"
    """`update`: all label tokens of an update count alike, whatever batch and process they are in.
    `micro_batch`: the means of the micro-batches count alike, as published."""

    # What is trained
    freeze_encoder: bool = False
    """Keep the encoder as it is; with the teacher's own encoder it then runs once for both."""

    freeze_decoder: bool = False
    """Keep the decoder as it is, but for the token embedding (the output projection)."""

    freeze_embed_positions: bool = False
    """Keep the decoder's position table as it is."""

    gradient_checkpointing: bool = False
    """Compute activations of the trained layers twice instead of keeping them."""

    # Labels
    use_pseudo_labels: bool = True
    """Train on labels.jsonl; false = on the transcripts of `text`."""

    language: str | None = None
    """Of transcripts without utt2lang, e.g. hi; labels.jsonl has its own and must agree."""

    task: str = "transcribe"
    """Of transcripts: transcribe or translate."""

    timestamp_probability: float = 0.2
    """Share of labels with timestamps that keep them (the paper: 0.5)."""

    condition_on_prev_probability: float = 0.2
    """Share of labels with a previous text that get it as a prompt."""

    max_label_length: int | None = None
    """Longest token sequence, prompt included; null = the student's longest (published 448)."""

    pad_to_max_length: bool = False
    """Pad all labels to max_label_length, as published; the loss is the same at three times the
    cost."""

    min_duration_in_seconds: float = 0.0
    """Training utterances must be longer."""

    max_duration_in_seconds: float = 30.0
    """Training utterances must not be longer."""

    wer_threshold: float | None = None
    """Train only on labels whose WER with their reference is below this percentage; null = all.
    bin.whisper_filter has more measures, and leaves a record of its decisions."""

    normaliser: str = "auto"
    """For WER: auto (by language), english, basic, arabic or none."""

    drop_flagged: list[str] | None = None
    """Labels with one of these flags are left out: truncated, empty, repeated, timestamps; null =
    truncated ones, which would teach to stop early (published: none)."""

    train_dataset_samples: list[float] | None = None
    """Weight of each folder of --train_dir in an epoch, whatever its size: a list, or `10+5` as
    published; null = all utterances of all folders once."""

    rate_policy: str = "error"
    """Recordings of another rate than 16 kHz: error, or resample."""

    channels: str = "error"
    """Recordings with several channels: error, or first."""

    # Validation
    predict_with_generate: bool = True
    """Decode the validation data and report WER; false = losses only."""

    generation_num_beams: int = 1
    """Beams of that decoding; 1 = greedy."""

    generation_max_length: int | None = None
    """Longest decoded sequence, prefix included; null = max_label_length."""

    return_timestamps: bool = False
    """Decode with timestamps."""

    max_bad_steps: int = 20
    """Stop after so many updates in a row were skipped because of NaN or infinity."""

    # What is kept
    save_best_total_limit: int | None = None
    """How many of the best epochs have a Hugging Face folder in OUTPUT_DIR/students while the run
    goes on; null = as many as keep_nbest_models, 0 = none (published 1)."""

    save_total_limit: int = 0
    """How many of the last epochs have one there too."""

    @property
    def freezing(self) -> Freezing:
        """What is not trained."""
        return Freezing(
            freeze_encoder=self.freeze_encoder,
            freeze_decoder=self.freeze_decoder,
            freeze_embed_positions=self.freeze_embed_positions,
        )

    @property
    def flags_to_drop(self) -> frozenset[str]:
        """Flags of labels that are left out."""
        return frozenset(["truncated"] if self.drop_flagged is None else self.drop_flagged)

    def label_options(self, longest: int) -> LabelOptions:
        """How token sequences are made, for a model with ``longest`` decoder positions."""
        return LabelOptions(
            timestamp_probability=self.timestamp_probability,
            condition_on_prev_probability=self.condition_on_prev_probability,
            max_label_length=self.longest_label(longest),
        )

    def longest_label(self, longest: int) -> int:
        """Longest token sequence, for a model with ``longest`` decoder positions."""
        return longest if self.max_label_length is None else self.max_label_length

    def needs_teacher(self) -> bool:
        """Whether a term of the loss looks at a teacher."""
        return self.kl_weight > 0 or self.mse_weight > 0

    def validate(self) -> list[str]:
        """All problems, as sentences that start with the option's name; empty if there is none."""
        problems = self._range_problems() + self._choice_problems()
        if not 0 < self.temperature < math.inf:
            problems.append(f"temperature is {self.temperature}; it must be positive and finite")
        if self.ce_weight == 0 and not self.needs_teacher():
            problems.append("ce_weight, kl_weight and mse_weight are all 0; nothing is learnt")
        if not self.max_duration_in_seconds > self.min_duration_in_seconds:
            problems.append(
                f"max_duration_in_seconds is {self.max_duration_in_seconds}; it must be more than "
                f"min_duration_in_seconds {self.min_duration_in_seconds}"
            )
        if self.share_hidden_states and not self.freeze_encoder:
            problems.append(
                "share_hidden_states is true: encoders only stay equal with freeze_encoder: true"
            )
        if self.wer_threshold is not None and not self.use_pseudo_labels:
            problems.append("wer_threshold is for pseudo-labels; leave it out")
        if (
            self.train_dataset_samples is not None
            and not min(self.train_dataset_samples, default=0.0) > 0
        ):
            problems.append("train_dataset_samples must be positive weights, one for each folder")
        return problems

    def _range_problems(self) -> list[str]:
        problems = [
            f"{name} is {value}; it must lie between 0 and 1"
            for name in ("timestamp_probability", "condition_on_prev_probability")
            if not 0 <= (value := getattr(self, name)) <= 1
        ]
        least = {
            "kl_weight": 0, "ce_weight": 0, "mse_weight": 0, "min_duration_in_seconds": 0,
            "wer_threshold": 0, "max_label_length": 8, "generation_max_length": 8,
            "generation_num_beams": 1, "max_bad_steps": 1, "save_best_total_limit": 0,
            "save_total_limit": 0,
        }  # fmt: skip
        return problems + [
            f"{name} is {value}; it must be at least {bound}" + ", and finite" * (value == math.inf)
            for name, bound in least.items()
            if (value := getattr(self, name)) is not None and not bound <= value < math.inf
        ]

    def _choice_problems(self) -> list[str]:
        allowed = {
            "average_over": AVERAGES,
            "task": TASKS,
            "normaliser": NORMALISERS,
            "rate_policy": RATE_POLICIES,
            "channels": CHANNELS,
        }
        problems = [
            f"{name} is {getattr(self, name)!r}; choose {' or '.join(choices)}"
            for name, choices in allowed.items()
            if getattr(self, name) not in choices
        ]
        known = ("truncated", "empty", "repeated", "timestamps")
        unknown = sorted(self.flags_to_drop - set(known))
        if unknown:
            problems.append(
                f"drop_flagged names {', '.join(unknown)}; known are {', '.join(known)}"
            )
        return problems

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> WhisperDistillConfig:
        """Build from YAML values.

        Raises:
            ConfigError: unknown keys, wrong types and impossible values, all at once.
        """
        # One by one: a wrong type must not hide a wrong value.
        values, problems = _with_samples(values)
        wrong = {key: _problems_of(cls, {key: value}) for key, value in values.items()}
        usable = {key: value for key, value in values.items() if not wrong[key]}
        config = from_mapping(cls, usable, subject="kd_conf")
        problems += [problem for found in wrong.values() for problem in found] + config.validate()
        if problems:
            raise ConfigError("kd_conf", problems)
        return config


def _with_samples(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Weights of folders as a list, also where they are written as published."""
    weights = values.get("train_dataset_samples")
    if not isinstance(weights, str):
        return dict(values), []
    try:
        return {**values, "train_dataset_samples": parse_samples(weights)}, []
    except ConfigError as error:
        others = {key: value for key, value in values.items() if key != "train_dataset_samples"}
        return others, [f"train_dataset_samples: {problem}" for problem in error.problems]


def _problems_of(cls: type[WhisperDistillConfig], values: Mapping[str, Any]) -> list[str]:
    try:
        from_mapping(cls, values, subject="kd_conf")
    except ConfigError as error:
        return error.problems
    return []
