"""What our ESPnet tasks share: our trainer, and one process that checks and owns the output."""

from __future__ import annotations

import argparse
import contextlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from espnet2.tasks import abs_task
from espnet2.tasks.abs_task import AbsTask
from espnet2.train.distributed_utils import get_rank

from espnet_kd.errors import ConfigError, KDError
from espnet_kd.tasks.saving import changed_options, run_folder
from espnet_kd.tasks.together import announce
from espnet_kd.tasks.trainer import KDTrainer
from espnet_kd.tasks.yaml_check import keyword_problems, parse
from espnet_kd.utils.devices import gpu_count
from espnet_kd.utils.options import is_number, too_small

_LOG = logging.getLogger(__name__)


class KDTask(AbsTask):
    """Base of tasks whose runs resume; ``build_model`` begins with ``agree_to_start``."""

    trainer = KDTrainer

    @classmethod
    def main(cls, args: argparse.Namespace | None = None, cmd: Sequence[str] | None = None) -> None:
        """Check configuration and command line, then run.

        Raises:
            ConfigError: all problems of configuration and command line.
            KDError: see :meth:`main_worker`.
        """
        if args is None:
            args, problems = parse(cls.get_parser(), cmd)
            read_numbers(args)
            cls.complete(args)
            problems += trainer_problems(args) + cls.problems(args)
            if problems:
                raise ConfigError(args.config or "command line", problems)
        super().main(args=args)

    @classmethod
    def complete(cls, args: argparse.Namespace) -> None:
        """Set defaults that depend on other options."""

    @classmethod
    def problems(cls, args: argparse.Namespace) -> list[str]:
        """What is wrong with the options, each with its key path."""
        raise NotImplementedError

    @classmethod
    def main_worker(cls, args: argparse.Namespace) -> None:
        """Run one process; the first one checks models and data and owns the output folder.

        Raises:
            KDError: a model does not exist, the data cannot be used, or another run is there; all
                processes raise it.
        """
        with contextlib.ExitStack() as stack:
            if not (args.collect_stats or args.dry_run) and cls._is_first_process(args):
                try:
                    cls.check_before_training(args)
                    stack.enter_context(run_folder(Path(args.output_dir), resume=args.resume))
                    cls._tell_changes(args)
                except KDError as error:
                    if not args.distributed:
                        raise
                    announce(error)
                    args.start_error = error  # for build_model, where all processes can hear it
            super().main_worker(args)

    @classmethod
    def check_before_training(cls, args: argparse.Namespace) -> None:
        """Look at models and data, so that nothing fails after hours.

        Raises:
            KDError: something is missing or cannot be used.
        """
        raise NotImplementedError

    @staticmethod
    def _tell_changes(args: argparse.Namespace) -> None:
        """A run that goes on has epochs of its earlier options; a finished one has nothing else."""
        names = ("student", "teacher", "student_conf", "teacher_conf", "kd_conf")
        options = {name: getattr(args, name) for name in names if hasattr(args, name)}
        changes = changed_options(Path(args.output_dir), options)
        if changes:
            _LOG.warning(
                f"{args.output_dir} goes on with other options than it was begun with, which only "
                f"act on epochs that are still to come: {'; '.join(changes)}. To train with them "
                "from the start, choose another --output_dir"
            )

    @staticmethod
    def _is_first_process(args: argparse.Namespace) -> bool:
        return not get_rank(args.dist_rank, args.dist_launcher)


class DistillTask(KDTask):
    """Base of tasks whose only stream is speech and whose parts are all ours."""

    num_optimizers = 1
    class_choices_list: ClassVar[list[Any]] = []

    @classmethod
    def required_data_names(cls, train: bool = True, inference: bool = False) -> tuple[str, ...]:
        """Only speech."""
        return ("speech",)


def problems_of(name: str, build: Callable[[], object]) -> list[str]:
    """What ``build`` finds wrong with the option ``name``."""
    try:
        build()
    except ConfigError as error:
        return [f"{name}: {problem}" for problem in error.problems]
    return []


_LEAST = {
    "max_epoch": 1, "accum_grad": 1, "num_iters_per_epoch": 1, "batch_size": 1,
    "valid_batch_size": 1, "batch_bins": 1, "valid_batch_bins": 1, "num_workers": 0, "seed": 0,
}  # fmt: skip


def read_numbers(args: argparse.Namespace) -> None:
    """YAML 1.1 reads ``5e-3`` as a string, and ESPnet hands it on to the optimiser."""
    for option in ("optim_conf", "scheduler_conf"):
        conf = getattr(args, option)
        numbers = {k: float(v) for k, v in conf.items() if isinstance(v, str) and is_number(v)}
        setattr(args, option, {**conf, **numbers})


def trainer_problems(args: argparse.Namespace) -> list[str]:
    """ESPnet's own options that would end in a traceback, or train nothing."""
    problems = too_small(args, _LEAST)
    if not args.grad_clip > 0:  # a limit of 0 stops the weights, a negative one turns them round
        problems.append(f"grad_clip is {args.grad_clip}; it must be positive (inf = no clipping)")
    problems += [
        f"best_model_criterion names {phase}, {key}, {mode}; write train or valid, the name of a "
        "value, and min or max"
        for phase, key, mode in args.best_model_criterion
        if phase not in ("train", "valid") or mode not in ("min", "max")
    ]
    gpus = gpu_count()
    if args.ngpu > gpus:
        problems.append(f"ngpu is {args.ngpu}, but torch sees {gpus} GPU(s); lower it (0 = CPU)")
    return problems


def optimizer_problems(args: argparse.Namespace) -> list[str]:
    """Unknown keys of ``--optim_conf`` and ``--scheduler_conf``, and values that cannot be."""
    problems = []
    for option in ("optim", "scheduler"):
        target = getattr(abs_task, f"{option}_classes").get(getattr(args, option))
        if target is not None:
            name = f"{option}_conf"
            problems += keyword_problems(name, target, getattr(args, name), ("params", "optimizer"))
    return problems or _value_problems(args)


def _value_problems(args: argparse.Namespace) -> list[str]:
    """What the optimiser says to its options, tried on a weight that nobody needs."""
    try:
        target: Any = abs_task.optim_classes[args.optim]
        target([torch.nn.Parameter(torch.zeros(1))], **args.optim_conf)
    except (TypeError, ValueError) as error:
        return [f"optim_conf: {error}"]
    return []
