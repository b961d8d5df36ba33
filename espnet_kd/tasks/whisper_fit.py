"""Whether a Whisper teacher fits a student, and whether one encoder can serve both."""

from __future__ import annotations

import logging

from espnet_kd.errors import ConfigError
from espnet_kd.tasks.whisper_options import WhisperDistillConfig
from espnet_kd.tasks.whisper_teacher import WhisperTeacher
from espnet_kd.tasks.whisper_validation import decoding_options
from espnet_kd.whisper.load import WhisperBundle
from espnet_kd.whisper.pair import same_encoder
from espnet_kd.whisper.shrink import shrink_whisper

_LOG = logging.getLogger(__name__)


def fit_teacher(
    student: WhisperBundle, teacher: WhisperTeacher, kd: WhisperDistillConfig
) -> WhisperTeacher:
    """Check that both models can look at the same batches; shorten the teacher's context if needed.

    Returns:
        The teacher, with a context as short as the student's.

    Raises:
        ConfigError: all misfits.
    """
    problems = [
        *_token_problems(student, teacher),
        *_shape_problems(student, teacher, kd),
        *_mse_problems(student, teacher, kd),
    ]
    if problems:
        raise ConfigError(f"student {student.name} and teacher {teacher.name} do not fit", problems)
    ours = student.model.config.max_source_positions
    theirs = teacher.model.config.max_source_positions
    if theirs > ours:
        _LOG.info(f"teacher {teacher.name} sees {ours / 50:g} s at once, as the student does")
        shortened, _ = shrink_whisper(
            teacher.bundle,
            decoder_layers=teacher.model.config.decoder_layers,
            max_source_positions=ours,
        )
        return WhisperTeacher(shortened, teacher.dtype)
    return teacher


def check_student(student: WhisperBundle, kd: WhisperDistillConfig) -> None:
    """Check that a student can be trained and decoded as the options say.

    Raises:
        ConfigError: labels or transcripts longer than it takes.
    """
    longest = student.model.config.max_target_positions
    problems = []
    if kd.longest_label(longest) > longest:
        problems.append(
            f"max_label_length is {kd.max_label_length}; {student.name} takes {longest} tokens"
        )
    prefix = 4 if student.specials.is_multilingual else 2
    if kd.predict_with_generate:
        found = decoding_options(kd, longest).validate(longest, prefix)
        problems += [f"generation: {problem}" for problem in found]
    if problems:
        raise ConfigError("kd_conf", problems)


def wants_to_share(
    student: WhisperBundle, teacher: WhisperTeacher, kd: WhisperDistillConfig
) -> bool:
    """Whether the teacher shall look at the student's encoder states.

    Raises:
        ConfigError: ``share_hidden_states: true`` and the encoders differ.
    """
    if kd.share_hidden_states is False or not kd.freeze_encoder:
        return False
    same = same_encoder(student.model, teacher.model)
    if not same and kd.share_hidden_states:
        raise ConfigError(
            "kd_conf",
            [
                f"share_hidden_states: the frozen encoder of {student.name} is not that of teacher "
                f"{teacher.name}; make the student with all encoder layers, or leave the option out"
            ],
        )
    if same:
        _LOG.info(f"student and teacher {teacher.name} have one encoder: it runs once for both")
    else:
        _LOG.info(f"the frozen encoder is not that of teacher {teacher.name}: each runs its own")
    return same


def _token_problems(student: WhisperBundle, teacher: WhisperTeacher) -> list[str]:
    ours, theirs = student.model.config.vocab_size, teacher.model.config.vocab_size
    if ours != theirs:
        return [
            f"the student has {ours} tokens, the teacher {theirs}; logits are compared token by "
            "token: take models with one tokenizer (all multilingual before large-v3, or all "
            "English-only)"
        ]
    if student.specials != teacher.bundle.specials:
        return ["their special tokens have different ids; take models with one tokenizer"]
    return []


def _shape_problems(
    student: WhisperBundle, teacher: WhisperTeacher, kd: WhisperDistillConfig
) -> list[str]:
    ours, theirs = student.model.config, teacher.model.config
    problems = []
    if ours.num_mel_bins != theirs.num_mel_bins:
        problems.append(
            f"the student takes {ours.num_mel_bins} mel bins, the teacher {theirs.num_mel_bins}"
        )
    if ours.max_source_positions > theirs.max_source_positions:
        problems.append(
            f"the student sees {ours.max_source_positions / 50:g} s at once, the teacher "
            f"{theirs.max_source_positions / 50:g} s; shorten the student"
        )
    longest = kd.longest_label(ours.max_target_positions)
    if longest > theirs.max_target_positions:
        problems.append(
            f"max_label_length is {longest}, the teacher takes {theirs.max_target_positions} tokens"
        )
    return problems


def _mse_problems(
    student: WhisperBundle, teacher: WhisperTeacher, kd: WhisperDistillConfig
) -> list[str]:
    if kd.mse_weight == 0:
        return []
    ours, theirs = student.model.config, teacher.model.config
    problems = [
        f"mse_weight: the student has {getattr(ours, stack)} {stack.replace('_', ' ')}, the "
        f"teacher {getattr(theirs, stack)}; the student may not have more"
        for stack in ("encoder_layers", "decoder_layers")
        if getattr(ours, stack) > getattr(theirs, stack)
    ]
    if ours.d_model != theirs.d_model:
        problems.append(
            f"mse_weight: the student is {ours.d_model} wide, the teacher {theirs.d_model}; hidden "
            "states of equal widths are needed, or leave the option out"
        )
    return problems
