"""``MVQASRTask`` and ``MVQTransducerTask``: ESPnet's recognisers, distilled by a teacher's codes.

Options of their own: ``--kd_conf`` and ``--check_data``; the codes are the data stream ``codes``.
Everything else is ESPnet's.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import ClassVar

from espnet2.tasks.asr import ASRTask
from espnet2.utils.nested_dict_action import NestedDictAction
from espnet2.utils.types import humanfriendly_parse_size_or_none, str2bool

from espnet_kd.data.audio import AudioPolicy
from espnet_kd.tasks.asr_transducer import KDTransducerTask
from espnet_kd.tasks.batches import Streams, signed_codes
from espnet_kd.tasks.codes_check import CODES, check_code_streams
from espnet_kd.tasks.data_check import check_data
from espnet_kd.tasks.distill_task import KDTask, optimizer_problems, problems_of
from espnet_kd.tasks.mvq_model import MVQASRModel, MVQModel, MVQTransducerModel
from espnet_kd.tasks.mvq_options import MVQConfig
from espnet_kd.tasks.together import agree_to_start


class MVQTask(KDTask):
    """What both tasks share."""

    model: ClassVar[type[MVQModel]]
    """What the stock model becomes."""

    @classmethod
    def add_task_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Add our options; a run that is started again goes on."""
        super().add_task_arguments(parser)
        group = parser.add_argument_group("Distillation")
        group.add_argument(
            "--kd_conf", action=NestedDictAction, default={}, help="Layer, codes and scales"
        )
        group.add_argument(
            "--check_data",
            type=str2bool,
            default=True,
            help="Check tables, audio headers and codes at the start",
        )
        # The trainer's options of tasks that have a teacher beside them.
        parser.set_defaults(resume=True, teacher=None, teacher_conf={})

    @classmethod
    def problems(cls, args: argparse.Namespace) -> list[str]:
        """What is wrong with the options, each with its key path."""
        problems = problems_of("kd_conf", lambda: MVQConfig.from_dict(args.kd_conf))
        distils = args.kd_conf.get("enable_distillation", True)
        if distils and args.specaug is not None and args.specaug_conf.get("apply_time_warp", True):
            problems.append(
                "specaug_conf.apply_time_warp is on: codes belong to frames, which warping moves; "
                "set it to false"
            )
        streams = [name for _path, name, _kind in args.train_data_path_and_name_and_type]
        if distils and streams and not args.collect_stats and CODES not in streams:
            problems.append(
                "no --train_data_path_and_name_and_type PATH,codes,kaldi_ark is given; make codes "
                "with bin.extract_codebook_indexes, or set kd_conf.enable_distillation: false"
            )
        return problems + optimizer_problems(args)

    @classmethod
    def check_before_training(cls, args: argparse.Namespace) -> None:
        """Look at the data, so that nothing fails after hours.

        Raises:
            DataDirError: all problems of the recordings, or of the codes.
        """
        if args.check_data:
            conf = args.frontend_conf if args.input_size is None else {}
            rate = humanfriendly_parse_size_or_none(str(conf.get("fs", 16000)))
            check_data(args, AudioPolicy(sample_rate=int(rate or 16000)))
            kd = MVQConfig.from_dict(args.kd_conf)
            check_code_streams(args, kd.num_codebooks, kd.codebook_size)

    @classmethod
    def optional_data_names(cls, train: bool = True, inference: bool = False) -> tuple[str, ...]:
        """The stock task's streams, and codes."""
        stock: tuple[str, ...] = super().optional_data_names(train, inference)
        return (*stock, CODES)

    @classmethod
    def build_preprocess_fn(
        cls, args: argparse.Namespace, train: bool
    ) -> Callable[[str, Streams], Streams]:
        """The stock task's, and codes as ESPnet wants integers."""
        return SignedCodes(super().build_preprocess_fn(args, train))

    @classmethod
    def build_model(cls, args: argparse.Namespace) -> MVQModel:
        """ESPnet's model (a transducer with our losses) with the prediction head.

        Raises:
            ConfigError: an impossible head or loss.
            KDError: the first process of a distributed run cannot start.
        """
        agree_to_start(vars(args).pop("start_error", None))
        model: MVQModel = cls.model.adopt_mvq(
            super().build_model(args), MVQConfig.from_dict(args.kd_conf)
        )
        return model


class MVQASRTask(MVQTask, ASRTask):
    """CTC and attention models."""

    model = MVQASRModel


class MVQTransducerTask(MVQTask, KDTransducerTask):
    """Transducers; the published setting."""

    model = MVQTransducerModel


class SignedCodes:
    """A stock preprocessor, or none, that also takes codes of bytes."""

    def __init__(self, stock: Callable[[str, Streams], Streams] | None) -> None:
        self.stock = stock

    def __call__(self, uid: str, data: Streams) -> Streams:
        """The streams as ESPnet wants them."""
        signed = signed_codes(data)
        return signed if self.stock is None else self.stock(uid, signed)
