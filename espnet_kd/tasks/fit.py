"""Whether a teacher fits a student: every misfit is found before the first batch."""

from __future__ import annotations

from collections.abc import Iterable

from espnet_kd.encoder import SpeechEncoder
from espnet_kd.errors import ConfigError
from espnet_kd.tasks.objective import Objective
from espnet_kd.tasks.options import DistillConfig
from espnet_kd.tasks.teacher import Teacher


def fit_teacher(
    student: SpeechEncoder,
    teacher: Teacher | None,
    kd: DistillConfig,
    objectives: Iterable[Objective],
) -> None:
    """Choose the teacher's layers and check that it fits.

    Raises:
        ConfigError: lists all misfits, each naming both models and the remedy.
    """
    problems = []
    if teacher is not None:
        problems += _layer_problems(student, teacher, kd) + _frame_problems(student, teacher)
        if kd.update_teacher_mask:
            problems += _mask_problems(student, teacher)
    for objective in objectives:
        problems += objective.misfits(student.config, teacher)
    if problems:
        raise ConfigError("teacher and student do not fit", problems)


def _layer_problems(student: SpeechEncoder, teacher: Teacher, kd: DistillConfig) -> list[str]:
    wanted, has = student.config.num_layers, teacher.num_layers
    chosen = kd.teacher_layers
    if chosen is None:
        teacher.layers = list(range(has))
        if wanted == has:
            return []
        step = has / wanted
        advice = [max(0, round(step * (i + 1)) - 1) for i in range(wanted)]
        return [
            f"the student has {wanted} layers, teacher {teacher.name} has {has}; say which of "
            f"them the "
            f"student's layers learn from, e.g. kd_conf.teacher_layers: {advice}"
        ]
    problems = []
    if len(chosen) != wanted:
        problems.append(
            f"kd_conf.teacher_layers lists {len(chosen)} layers, the student has {wanted}; list "
            f"one each"
        )
    outside = [layer for layer in chosen if not 0 <= layer < has]
    if outside or not chosen:
        problems.append(
            f"kd_conf.teacher_layers {outside}: teacher {teacher.name} has layers 0 to {has - 1}"
        )
    teacher.layers = list(chosen)
    return problems


def _frame_problems(student: SpeechEncoder, teacher: Teacher) -> list[str]:
    for samples, theirs in teacher.frame_counts().items():
        ours = student.frame_count(samples)
        if ours != theirs:
            return [
                f"{samples} samples give {ours} frames in the student and {theirs} in teacher "
                f"{teacher.name}; frames are compared one by one, so choose a student whose "
                f"conv_layers "
                "have the teacher's strides and kernels"
            ]
    return []


def _mask_problems(student: SpeechEncoder, teacher: Teacher) -> list[str]:
    if student.config.embed_dim == teacher.width and teacher.can_mask:
        return []
    return [
        f"kd_conf.update_teacher_mask: the student is {student.config.embed_dim} wide, teacher "
        f"{teacher.name} {teacher.width}; equal widths are needed, or leave the option out"
    ]
