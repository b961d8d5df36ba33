"""What our ESPnet tasks share: our trainer, and one process that checks and owns the output."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import Any, ClassVar

from espnet2.tasks.abs_task import AbsTask
from espnet2.train.distributed_utils import get_rank

from espnet_kd.errors import KDError
from espnet_kd.tasks.saving import run_folder
from espnet_kd.tasks.together import announce
from espnet_kd.tasks.trainer import KDTrainer


class DistillTask(AbsTask):
    """Base of tasks whose runs resume; ``build_model`` begins with ``agree_to_start``."""

    num_optimizers = 1
    class_choices_list: ClassVar[list[Any]] = []
    trainer = KDTrainer

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
    def _is_first_process(args: argparse.Namespace) -> bool:
        return not get_rank(args.dist_rank, args.dist_launcher)

    @classmethod
    def required_data_names(cls, train: bool = True, inference: bool = False) -> tuple[str, ...]:
        """Only speech."""
        return ("speech",)
