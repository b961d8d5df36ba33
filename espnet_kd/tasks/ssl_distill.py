"""``SSLDistillTask``: distil a self-supervised speech encoder inside ESPnet.

Options of its own: ``--student``, ``--student_conf``, ``--teacher``, ``--teacher_conf``,
``--kd_conf``, ``--check_data``. Everything else is ESPnet's, with the published runs' defaults.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from espnet2.iterators.abs_iter_factory import AbsIterFactory
from espnet2.tasks.abs_task import IteratorOptions
from espnet2.utils.nested_dict_action import NestedDictAction
from espnet2.utils.types import str2bool, str_or_none

from espnet_kd.data.audio import AudioPolicy
from espnet_kd.encoder import SpeechEncoder, SpeechEncoderConfig
from espnet_kd.errors import KDError
from espnet_kd.optim import ScheduledAdamW, decay_groups
from espnet_kd.tasks.batches import AudioCheck, CropCollate, crop_rule
from espnet_kd.tasks.batching import batching_problems, check_lengths, length_iter_factory
from espnet_kd.tasks.codes_check import (
    check_code_streams,
    check_text_codes,
    stream_problems,
)
from espnet_kd.tasks.data_check import check_data
from espnet_kd.tasks.distill_task import DistillTask, optimizer_problems, problems_of
from espnet_kd.tasks.optimizers import pruning_optimizer, pruning_optimizer_problems
from espnet_kd.tasks.options import CropOptions, DistillConfig
from espnet_kd.tasks.ssl_model import SSLDistillModel
from espnet_kd.tasks.students import student_config
from espnet_kd.tasks.teacher import S3PRL_PREFIX
from espnet_kd.tasks.together import agree_to_start
from espnet_kd.utils.options import unknown_key
from espnet_kd.utils.weights import load_strictly

_LOG = logging.getLogger(__name__)

DEFAULTS: dict[str, Any] = {
    # Published: AdamW_with_schedule with 5 % linear warm-up, no clipping, best 3 epochs by v_loss.
    "optim": "scheduled_adamw",
    "scheduler": "linear_warmup_decay",
    "grad_clip": math.inf,
    "max_epoch": 200,
    "best_model_criterion": [["valid", "loss", "min"]],
    "keep_nbest_models": [3],
    # Batches of similar length, as published; no fold_length needed.
    "batch_type": "sorted",
    # A run that is started again goes on; it never overwrites what it finds.
    "resume": True,
    # There is no attention to plot.
    "num_att_plot": 0,
}
"""ESPnet options whose default differs here."""


class SSLDistillTask(DistillTask):
    """Student, teacher and objectives as an ESPnet task (data stream ``speech``)."""

    # --- Options
    @classmethod
    def add_task_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Add our options and set our defaults."""
        group = parser.add_argument_group("Distillation")
        group.add_argument(
            "--student",
            type=str,
            default="armhubert",
            help="Architecture, or folder of a saved student",
        )
        group.add_argument(
            "--teacher",
            type=str_or_none,
            default=None,
            help="Checkpoint, or s3prl:NAME[:CHECKPOINT]",
        )
        for name, text in (
            ("student_conf", "Changes to the student's configuration"),
            ("teacher_conf", "Changes to the teacher's configuration"),
            ("kd_conf", "Objectives, masking and the like"),
        ):
            group.add_argument(f"--{name}", action=NestedDictAction, default={}, help=text)
        group.add_argument(
            "--check_data",
            type=str2bool,
            default=True,
            help="Check tables and audio headers at the start",
        )
        parser.set_defaults(**DEFAULTS)

    @classmethod
    def problems(cls, args: argparse.Namespace) -> list[str]:
        """What is wrong with the nested options, each with its key path."""
        problems = [
            *problems_of("kd_conf", lambda: DistillConfig.from_dict(args.kd_conf)),
            *problems_of("student_conf", lambda: student_config(args.student, args.student_conf)),
        ]
        if args.teacher is None or not args.teacher.startswith(S3PRL_PREFIX):
            fields = [field.name for field in dataclasses.fields(SpeechEncoderConfig)]
            unknown = [key for key in args.teacher_conf if key not in fields]
            problems += [f"teacher_conf: {unknown_key(key, fields)}" for key in unknown]
        if args.kd_conf.get("pruning") is not None:
            problems += pruning_optimizer_problems(args)
        if args.kd_conf.get("batching") is not None:
            problems += batching_problems(args)
        objectives = args.kd_conf.get("objectives")
        for name in ("masked_prediction", "codebook_prediction"):
            if isinstance(objectives, Mapping) and objectives.get(name) is not None:
                problems += stream_problems(args, name)
        return problems + optimizer_problems(args)

    @classmethod
    def check_before_training(cls, args: argparse.Namespace) -> None:
        """Look at teacher and data, so that nothing fails after hours.

        Raises:
            KDError: the teacher's path does not exist.
            DataDirError: all problems of the data.
        """
        teacher = args.teacher
        if teacher and not teacher.startswith(S3PRL_PREFIX) and not Path(teacher).exists():
            raise KDError(
                f"teacher {teacher}: no such file or folder; run the stage that makes the "
                f"teacher, or "
                "give s3prl:NAME"
            )
        if args.check_data:
            config = student_config(args.student, args.student_conf)
            policy = AudioPolicy(sample_rate=config.sample_rate, min_samples=config.receptive_field)
            check_data(args, policy)
            check_lengths(args)
            objectives = DistillConfig.from_dict(args.kd_conf).objectives
            if objectives.codebook_prediction is not None:
                predicts = objectives.codebook_prediction
                check_code_streams(args, predicts.num_codebooks, predicts.codebook_size)
                check_text_codes(args, predicts.num_codebooks, predicts.codebook_size)
            if objectives.masked_prediction is not None:
                masked = objectives.masked_prediction
                check_text_codes(args, masked.num_codebooks, masked.num_classes)

    # --- Parts
    @classmethod
    def build_model(cls, args: argparse.Namespace) -> SSLDistillModel:
        """The student with its objectives; the teacher comes later, in real training only.

        Raises:
            KDError: the first process of a distributed run cannot start.
            CheckpointError: the student's folder has other weights than student_conf asks for.
        """
        agree_to_start(vars(args).pop("start_error", None))
        config = student_config(args.student, args.student_conf)
        kd = DistillConfig.from_dict(args.kd_conf)
        student = SpeechEncoder.from_config(config)
        if (Path(args.student) / "config.json").is_file():
            weights = SpeechEncoder.from_pretrained(args.student).state_dict()
            load_strictly(student, weights, f"{args.student}, changed by student_conf,")
            _LOG.info(f"student initialised from {args.student}")
        # Stored in config.yaml: the run can be exported without the architecture's name or folder.
        args.student_resolved = config.to_dict()
        model = SSLDistillModel(student, kd, args.seed)
        if not model.all_parameters_each_step:
            args.unused_parameters = True
        return model

    @classmethod
    def build_optimizers(
        cls, args: argparse.Namespace, model: torch.nn.Module
    ) -> list[torch.optim.Optimizer]:
        """The published optimiser decays everything but biases; others are built by ESPnet."""
        if isinstance(model, SSLDistillModel) and model.pruning is not None:
            return [pruning_optimizer(args, model)]
        if args.optim != "scheduled_adamw" or args.exclude_weight_decay or args.sharded_ddp:
            optimizers: list[torch.optim.Optimizer] = super().build_optimizers(args, model)
            return optimizers
        conf = dict(args.optim_conf)
        groups = decay_groups(model.named_parameters(), conf.pop("weight_decay", 0.01))
        return [ScheduledAdamW([group for group in groups if group["params"]], **conf)]

    # --- Data
    @classmethod
    def optional_data_names(cls, train: bool = True, inference: bool = False) -> tuple[str, ...]:
        """Codes for masked prediction; transcripts are ignored."""
        return ("codes", "text")

    @classmethod
    def build_preprocess_fn(cls, args: argparse.Namespace, train: bool) -> AudioCheck:
        """Check every utterance's samples."""
        streams = (
            args.train_data_path_and_name_and_type
            if train
            else args.valid_data_path_and_name_and_type
        )
        source = next((path for path, name, _ in streams if name == "speech"), "speech")
        return AudioCheck(student_config(args.student, args.student_conf).receptive_field, source)

    @classmethod
    def build_collate_fn(cls, args: argparse.Namespace, train: bool) -> CropCollate:
        """Pad; crop in training if asked for."""
        config = student_config(args.student, args.student_conf)
        crop, place = crop_rule(DistillConfig.from_dict(args.kd_conf), train=train)
        if args.collect_stats:  # which wants whole lengths
            crop = CropOptions()
        return CropCollate(crop, config.conv_layers, config.hop, config.sample_rate, place)

    @classmethod
    def build_sequence_iter_factory(
        cls, args: argparse.Namespace, iter_options: IteratorOptions, mode: str
    ) -> AbsIterFactory:
        """Iterate over ``kd_conf.batching``'s batches if it is on, else over ESPnet's."""
        if mode == "plot_att" or DistillConfig.from_dict(args.kd_conf).batching is None:
            return super().build_sequence_iter_factory(args, iter_options, mode)
        return length_iter_factory(cls, args, iter_options, mode)
