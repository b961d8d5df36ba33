"""``KDTransducerTask``: ESPnet's ``asr_transducer`` with our losses, everything else as it is."""

from __future__ import annotations

import argparse

from espnet2.tasks.asr_transducer import ASRTransducerTask

from espnet_kd.losses.transducer.backends import BACKENDS
from espnet_kd.registry import register
from espnet_kd.tasks.transducer_model import KDTransducerModel

register()


class KDTransducerTask(ASRTransducerTask):
    """Stock options, and ``--transducer_backend``."""

    @classmethod
    def add_task_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Add our option."""
        super().add_task_arguments(parser)
        parser.add_argument(
            "--transducer_backend",
            choices=BACKENDS,
            default="torch",
            help="Who computes the loss; all give the same numbers",
        )

    @classmethod
    def build_model(cls, args: argparse.Namespace) -> KDTransducerModel:
        """ESPnet's model with our losses.

        Raises:
            ConfigError: options that our losses lack.
            MissingDependencyError: the backend is not installed.
        """
        return KDTransducerModel.adopt(super().build_model(args), args.transducer_backend)
