"""``KDTransducerTask``: ESPnet's ``asr_transducer`` with our losses and true lengths; the rest is
as it is.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from espnet2.tasks.asr_transducer import ASRTransducerTask
from espnet2.train.distributed_utils import DistributedOption
from espnet2.train.reporter import SubReporter
from espnet2.train.trainer import Trainer, TrainerOptions
from espnet2.utils.types import str2bool

from espnet_kd.losses.transducer.backends import BACKENDS
from espnet_kd.registry import register
from espnet_kd.tasks.saving import atomic_torch_save, explain_damage, run_folder
from espnet_kd.tasks.trainer import set_total_steps, start_schedules
from espnet_kd.tasks.transducer_lengths import count_exactly
from espnet_kd.tasks.transducer_model import KDTransducerModel

register()


class TransducerTrainer(Trainer):
    """ESPnet's trainer, whose files survive a kill, and which knows our schedules."""

    @classmethod
    def resume(cls, checkpoint: str | Path, *args: Any, **kwargs: Any) -> None:
        """Load the last complete epoch.

        Raises:
            CheckpointError: the file is damaged or of another model.
        """
        with explain_damage(Path(checkpoint)):
            super().resume(checkpoint, *args, **kwargs)

    @classmethod
    def run(
        cls,
        schedulers: Sequence[Any],
        train_iter_factory: Any,
        trainer_options: TrainerOptions,
        distributed_option: DistributedOption,
        **others: Any,
    ) -> None:
        """Train to the end.

        Raises:
            KDError: another run is in the folder, one would be overwritten, or the disk is full.
        """
        with contextlib.ExitStack() as stack:
            if not distributed_option.dist_rank:
                folder = Path(trainer_options.output_dir)
                stack.enter_context(run_folder(folder, resume=trainer_options.resume))
            stack.enter_context(atomic_torch_save())
            set_total_steps(schedulers, train_iter_factory, trainer_options)
            super().run(
                schedulers=schedulers,
                train_iter_factory=train_iter_factory,
                trainer_options=trainer_options,
                distributed_option=distributed_option,
                **others,
            )

    @classmethod
    def train_one_epoch(
        cls, schedulers: Sequence[Any], reporter: SubReporter, **others: Any
    ) -> bool:
        """Train one epoch."""
        start_schedules(schedulers, reporter.get_epoch())
        invalid: bool = super().train_one_epoch(schedulers=schedulers, reporter=reporter, **others)
        return invalid


class KDTransducerTask(ASRTransducerTask):
    """Stock options, ``--transducer_backend`` and ``--exact_lengths``."""

    trainer = TransducerTrainer

    @classmethod
    def add_task_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Add our options; a run that is started again goes on."""
        super().add_task_arguments(parser)
        parser.set_defaults(resume=True)  # stock: False, which begins anew over what is there
        parser.add_argument(
            "--transducer_backend",
            choices=BACKENDS,
            default="torch",
            help="Who computes the loss; all give the same numbers",
        )
        parser.add_argument(
            "--exact_lengths",
            type=str2bool,
            default=True,
            help="false: as ESPnet, whose encoder counts the padding of a batch as speech",
        )

    @classmethod
    def build_model(cls, args: argparse.Namespace) -> KDTransducerModel:
        """ESPnet's model with our losses.

        Raises:
            ConfigError: options that our losses lack.
            MissingDependencyError: the backend is not installed.
        """
        model = KDTransducerModel.adopt(super().build_model(args), args.transducer_backend)
        if args.exact_lengths:
            count_exactly(model.encoder)
        return model
