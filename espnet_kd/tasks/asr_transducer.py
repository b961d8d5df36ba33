"""``KDTransducerTask``: ESPnet's ``asr_transducer`` with our losses and true lengths; the rest is
as it is.
"""

from __future__ import annotations

import argparse

from espnet2.tasks.asr_transducer import ASRTransducerTask
from espnet2.utils.types import str2bool

from espnet_kd.losses.transducer.backends import BACKENDS
from espnet_kd.registry import register
from espnet_kd.tasks.transducer_lengths import count_exactly
from espnet_kd.tasks.transducer_model import KDTransducerModel

register()


class KDTransducerTask(ASRTransducerTask):
    """Stock options, ``--transducer_backend`` and ``--exact_lengths``."""

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
