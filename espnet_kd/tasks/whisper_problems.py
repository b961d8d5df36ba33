"""All that is wrong with the command line of a Whisper distillation, before anything is loaded."""

from __future__ import annotations

import argparse

from espnet_kd.tasks.distill_task import optimizer_problems, problems_of
from espnet_kd.tasks.whisper_folders import MODES, folder_problems, folders_of, names_of
from espnet_kd.tasks.whisper_options import WhisperDistillConfig
from espnet_kd.tasks.whisper_student import StudentOptions
from espnet_kd.tasks.whisper_teacher import TeacherOptions


def whisper_problems(args: argparse.Namespace) -> list[str]:
    """Problems of nested options, folders and batches, each with its key path."""
    problems = [
        *problems_of("kd_conf", lambda: WhisperDistillConfig.from_dict(args.kd_conf)),
        *problems_of("student_conf", lambda: StudentOptions.from_dict(args.student_conf)),
        *problems_of("teacher_conf", lambda: TeacherOptions.from_dict(args.teacher_conf)),
        *folder_problems(args),
        *_iterator_problems(args),
    ]
    if args.collect_stats:
        problems.append("collect_stats: this task needs no statistics; leave that stage out")
    if args.student is None:
        problems.append("no --student is given; make one with bin.whisper_shrink")
    if not problems:
        problems += _joint_problems(args, WhisperDistillConfig.from_dict(args.kd_conf))
    return problems + optimizer_problems(args)


def _joint_problems(args: argparse.Namespace, kd: WhisperDistillConfig) -> list[str]:
    """What only shows when options are looked at together."""
    problems = []
    if args.teacher is None:
        if kd.mse_weight > 0:
            problems.append("kd_conf.mse_weight needs a --teacher")
        if kd.kl_weight > 0 and kd.use_pseudo_labels:
            problems.append(
                "no --teacher is given: give it, or set kd_conf.kl_weight: 0 to train on "
                "pseudo-labels alone"
            )
    if kd.train_dataset_samples is not None:
        number, folders = len(kd.train_dataset_samples), len(folders_of(args, "train"))
        if number != folders:
            problems.append(
                f"kd_conf.train_dataset_samples has {number} weight(s) for {folders} folder(s) of "
                "--train_dir"
            )
    return problems + _criterion_problems(args, kd)


def _criterion_problems(args: argparse.Namespace, kd: WhisperDistillConfig) -> list[str]:
    """Criteria that no epoch has: ESPnet passes over them, so that no best epoch would be kept."""
    options = ["best_model_criterion"]
    if args.patience is not None:
        options.append("early_stopping_criterion")
    problems = []
    for option in options:
        value = getattr(args, option)
        for phase, key, _ in value if option == "best_model_criterion" else [value]:
            computed = _computed(args, kd, phase)
            if key in computed:
                continue
            if key.startswith("wer") and not kd.predict_with_generate:
                why = "kd_conf.predict_with_generate: false switches off"
            else:
                why = f"no epoch has; {phase} has {', '.join(computed) or 'nothing'}"
            problems.append(f"{option} names {phase} {key}, which {why}")
    return problems


def _computed(args: argparse.Namespace, kd: WhisperDistillConfig, phase: str) -> list[str]:
    """What a phase reports of an epoch."""
    if phase not in MODES:
        return []
    losses = ["loss", "loss_ce", "loss_kl", "loss_mse"]
    if phase == "train" or not kd.predict_with_generate:
        return losses
    names = names_of(folders_of(args, "valid"))
    sets = ["", *(f"_{name}" for name in names)] if len(names) > 1 else [""]
    return losses + [f"{rate}{name}" for rate in ("wer", "wer_ortho") for name in sets]


def _iterator_problems(args: argparse.Namespace) -> list[str]:
    """ESPnet options that would make other batches, or other processes."""
    problems = [
        f"{name}: this task makes its batches itself; leave {name} out"
        for name in ("multiple_iterator", "shuffle_within_batch")
        if getattr(args, name)
    ]
    problems += [
        f"{name} is {getattr(args, name)}: this task only knows {allowed[0]}"
        for name, allowed in {
            "batch_type": ("unsorted",),
            "valid_batch_type": ("unsorted", None),
            "iterator_type": ("sequence",),
            "valid_iterator_type": ("sequence", None),
        }.items()
        if getattr(args, name) not in allowed
    ]
    return problems + [
        f"{name}: not with this task's trainer; use --multiprocessing_distributed true"
        for name in ("use_deepspeed", "sharded_ddp")
        if getattr(args, name)
    ]
