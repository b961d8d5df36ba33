"""ESPnet's trainer with the frozen teacher, exact resumption, safe saving, progress and export.

Everything else is ESPnet's own: distributed training, mixed precision, accumulation, n-best
averaging, TensorBoard. Nothing of its loops is copied.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from espnet2.train.distributed_utils import DistributedOption
from espnet2.train.reporter import Reporter, SubReporter
from espnet2.train.trainer import Trainer, TrainerOptions
from espnet2.utils.build_dataclass import build_dataclass

from espnet_kd.errors import ConfigError
from espnet_kd.tasks.export import export_run
from espnet_kd.tasks.guard import TrainingStoppedError
from espnet_kd.tasks.hooks import RunHooks, RunInfo
from espnet_kd.tasks.kept_students import StudentKeeper, reporters_seen
from espnet_kd.tasks.progress import Progress, RunClock
from espnet_kd.tasks.saving import (
    atomic_torch_save,
    explain_damage,
    repair_best_links,
    repair_epoch_file,
)
from espnet_kd.tasks.scheduler import Eden, LinearWarmupDecay
from espnet_kd.tasks.together import explain_lost_peer

_LOG = logging.getLogger(__name__)


@dataclass
class KDTrainerOptions(TrainerOptions):
    """ESPnet's options and ours."""

    teacher: str | None
    """``--teacher``."""

    teacher_conf: dict[str, Any]
    """``--teacher_conf``."""


class KDTrainer(Trainer):
    """Trainer of all our tasks; the model is a :class:`espnet_kd.tasks.hooks.RunHooks`."""

    clock: RunClock | None = None
    criteria: Sequence[Sequence[str]] = ()
    writes: bool = True
    keeper: StudentKeeper | None = None
    reporters: Sequence[Reporter] = ()

    @classmethod
    def build_options(cls, args: argparse.Namespace) -> KDTrainerOptions:
        """Collect what the trainer needs of the command line."""
        options: KDTrainerOptions = build_dataclass(KDTrainerOptions, args)
        return options

    @classmethod
    def resume(
        cls,
        checkpoint: str | Path,
        model: torch.nn.Module,
        reporter: Reporter,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Load the last complete epoch and repair what a kill left half done after it.

        Raises:
            CheckpointError: the file is damaged or of another model.
        """
        path = Path(checkpoint)
        with explain_damage(path):
            Trainer.resume(path, model, reporter, *args, **kwargs)
        if cls.writes:
            repair_epoch_file(path.parent, reporter.get_epoch(), model.state_dict())
            repair_best_links(path.parent, reporter, cls.criteria)

    @classmethod
    def run(
        cls,
        model: RunHooks,
        optimizers: Sequence[torch.optim.Optimizer],
        schedulers: Sequence[Any],
        train_iter_factory: Any,
        trainer_options: KDTrainerOptions,
        distributed_option: DistributedOption,
        **factories: Any,
    ) -> None:
        """Train to the end, then export the student.

        Raises:
            KDError: teacher and student do not fit, the disk is full, or too many updates in a row
                were not finite.
        """
        rank = distributed_option.dist_rank or 0
        folder = Path(trainer_options.output_dir)
        _check_devices(distributed_option)
        with contextlib.ExitStack() as stack:
            stack.enter_context(atomic_torch_save())
            stack.enter_context(_count_updates(model, optimizers))
            stack.enter_context(explain_lost_peer())
            model.start_run(_run_info(trainer_options, rank))
            updates = set_total_steps(schedulers, train_iter_factory, trainer_options)
            if updates is not None:
                model.expect_updates(updates)
            cls.clock, cls.writes = None, rank == 0
            cls.criteria = trainer_options.best_model_criterion
            cls.keeper = _keeper(model, trainer_options) if rank == 0 else None
            cls.reporters = stack.enter_context(reporters_seen())
            try:
                super().run(
                    model=model,
                    optimizers=optimizers,
                    schedulers=schedulers,
                    train_iter_factory=train_iter_factory,
                    trainer_options=trainer_options,
                    distributed_option=distributed_option,
                    **factories,
                )
            except TrainingStoppedError:
                if rank == 0:
                    torch.save(model.state_dict(), folder / "stopped.pth")
                    _LOG.error(f"the weights of this moment are in {folder / 'stopped.pth'}")
                raise
            cls.check_criteria()
            cls.keep_students()
            if rank == 0:
                export_run(model, folder, trainer_options.best_model_criterion)

    @classmethod
    def check_criteria(cls) -> None:
        """See that the epochs that are complete are judged by a value which they have.

        Raises:
            ConfigError: by none; ESPnet would keep none of the best epochs.
        """
        stats = cls.reporters[-1].stats
        done = stats[max(stats)] if stats else {}
        # Of ESPnet's own four criteria, two are absent in a transducer.
        absent = [(phase, key) for phase, key, _ in cls.criteria if key not in done.get(phase, {})]
        if done and absent and len(absent) == len(cls.criteria):
            problems = [
                f"{phase} {key} is no value of an epoch; {phase} has "
                f"{', '.join(sorted(done.get(phase, {}))) or 'none'}"
                for phase, key in absent
            ]
            raise ConfigError("best_model_criterion", problems)

    @classmethod
    def keep_students(cls) -> None:
        """Let the student folders follow the epoch files, which are complete at this moment."""
        if cls.keeper is not None:
            cls.keeper.update(cls.reporters[-1])

    @classmethod
    def train_one_epoch(
        cls,
        model: torch.nn.Module,
        iterator: Iterable[Any],
        optimizers: Sequence[torch.optim.Optimizer],
        schedulers: Sequence[Any],
        reporter: SubReporter,
        options: KDTrainerOptions,
        distributed_option: DistributedOption,
        **kwargs: Any,
    ) -> bool:
        """Train one epoch, with progress on rank 0.

        Raises:
            ConfigError: see :meth:`check_criteria`; earlier epochs are saved by now.
        """
        epoch = reporter.get_epoch()
        if cls.clock is None:
            cls.clock = RunClock(epoch, options.max_epoch)
        cls.check_criteria()
        cls.keep_students()
        core = _core(model)
        core.start_epoch(epoch)
        start_schedules(schedulers, epoch)
        for optimizer in optimizers:
            # ESPnet keeps the gradients of an incomplete accumulation for the next epoch; a resumed
            # run could not have them. Dropped, both runs are equal bit for bit.
            optimizer.zero_grad()
        rank = distributed_option.dist_rank or 0
        all_invalid: bool = super().train_one_epoch(
            model=model,
            iterator=Progress(core.training_batches(iterator), epoch, cls.clock, show=rank == 0),
            optimizers=optimizers,
            schedulers=schedulers,
            reporter=reporter,
            options=options,
            distributed_option=distributed_option,
            **kwargs,
        )
        return all_invalid

    @classmethod
    def validate_one_epoch(
        cls, model: torch.nn.Module, reporter: SubReporter, **kwargs: Any
    ) -> None:
        """Validate, with the masks of validation, and report what only shows in the end."""
        core = _core(model)
        core.start_validation()
        super().validate_one_epoch(model=model, reporter=reporter, **kwargs)
        found = core.finish_validation()
        if found:
            reporter.register(found)
            reporter.next()


def _core(model: torch.nn.Module) -> RunHooks:
    """Our model inside the distributed wrapper."""
    core = getattr(model, "module", model)
    assert isinstance(core, RunHooks)
    return core


def _keeper(model: RunHooks, options: KDTrainerOptions) -> StudentKeeper:
    kept = options.keep_nbest_models
    limits = model.student_limits(kept if isinstance(kept, int) else max(kept, default=1))
    return StudentKeeper(model, Path(options.output_dir), options.best_model_criterion[0], limits)


def _run_info(options: KDTrainerOptions, rank: int) -> RunInfo:
    return RunInfo(
        output_dir=Path(options.output_dir),
        seed=options.seed,
        rank=rank,
        max_epoch=options.max_epoch,
        accum_grad=options.accum_grad,
        teacher=options.teacher,
        teacher_conf=options.teacher_conf,
    )


@contextlib.contextmanager
def _count_updates(model: RunHooks, optimizers: Sequence[torch.optim.Optimizer]) -> Iterator[None]:
    """Tell the model of every real update (the hook is not called for skipped ones)."""
    handle = optimizers[0].register_step_post_hook(lambda *_: model.updated())
    try:
        yield
    finally:
        handle.remove()


def _check_devices(distributed: DistributedOption) -> None:
    if distributed.ngpu > 1 and not distributed.distributed:
        raise ConfigError(
            f"--ngpu {distributed.ngpu}",
            [
                "several GPUs in one process would share one teacher between devices; "
                "add --multiprocessing_distributed true"
            ],
        )


def start_schedules(schedulers: Sequence[Any], epoch: int) -> None:
    """Tell schedules that go by epochs that training of ``epoch`` (from 1) begins."""
    for scheduler in schedulers:
        if isinstance(scheduler, Eden):
            scheduler.start_epoch(epoch)


def set_total_steps(schedulers: Sequence[Any], factory: Any, options: TrainerOptions) -> int | None:
    """Tell schedules that go by the whole run how many updates it has, on this many processes.

    Returns:
        That number, where a schedule goes by it and it can be known.
    """
    linear = [s for s in schedulers if isinstance(s, LinearWarmupDecay)]
    if not linear:
        return None
    waiting = [s for s in linear if s.needs_total_steps]
    try:
        batches = len(factory.build_iter(1))
    except TypeError as error:
        if not waiting:
            return None
        raise ConfigError(
            "scheduler_conf",
            [
                "this data iterator does not know its number of batches; set "
                "scheduler_conf.total_steps"
            ],
        ) from error
    per_epoch = batches // options.accum_grad
    if per_epoch == 0:
        raise ConfigError(
            "accum_grad",
            [
                f"an epoch has {batches} batches, fewer than accum_grad {options.accum_grad}; no "
                f"update"
            ],
        )
    updates: int = per_epoch * options.max_epoch
    for scheduler in waiting:
        scheduler.set_total_steps(updates)
    end = min(scheduler.total_steps for scheduler in linear)
    _LOG.log(
        logging.WARNING if end < updates else logging.INFO,
        f"{per_epoch} updates per epoch ({batches} batches, accum_grad {options.accum_grad}), "
        f"{updates} in all: the learning rate falls to 0 at update {end}",
    )
    return updates
