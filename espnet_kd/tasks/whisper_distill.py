"""``WhisperDistillTask``: train a Whisper on pseudo-labels and its teacher inside ESPnet.

Options of its own: ``--student``, ``--student_conf``, ``--teacher``, ``--teacher_conf``,
``--kd_conf``, ``--train_dir``, ``--valid_dir``, ``--check_data``. Everything else is ESPnet's, with
the published runs' defaults.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from espnet2.iterators.abs_iter_factory import AbsIterFactory
from espnet2.iterators.sequence_iter_factory import SequenceIterFactory
from espnet2.tasks import abs_task
from espnet2.tasks.abs_task import IteratorOptions
from espnet2.utils.nested_dict_action import NestedDictAction
from espnet2.utils.types import str2bool, str_or_none

from espnet_kd.errors import KDError
from espnet_kd.tasks.data_check import check_headers
from espnet_kd.tasks.distill_task import DistillTask
from espnet_kd.tasks.mixed_batches import MixedBatches, fixed_batches, shares
from espnet_kd.tasks.together import agree_to_start
from espnet_kd.tasks.whisper_data import SpeechFolder, audio_policy
from espnet_kd.tasks.whisper_examples import LabelPreparation, Utterances, WhisperCollate
from espnet_kd.tasks.whisper_fit import check_student
from espnet_kd.tasks.whisper_folders import MODES, folders_of, names_of
from espnet_kd.tasks.whisper_model import WhisperDistillModel
from espnet_kd.tasks.whisper_options import WhisperDistillConfig
from espnet_kd.tasks.whisper_problems import whisper_problems
from espnet_kd.tasks.whisper_student import load_student
from espnet_kd.tasks.whisper_validation import Validation
from espnet_kd.whisper.load import WhisperBundle
from espnet_kd.whisper.parameters import parameter_groups

_LOG = logging.getLogger(__name__)

DEFAULTS: dict[str, Any] = {
    # Published: AdamW, linear warm-up and decay, gradients clipped to norm 1, 3 epochs.
    "optim": "adamw",
    "scheduler": "linear_with_warmup",
    "grad_clip": 1.0,
    "max_epoch": 3,
    # Published: the model with the lowest validation WER.
    "best_model_criterion": [["valid", "wer", "min"]],
    "keep_nbest_models": [1],
    # All inputs have the length of the model's context; batches are made here.
    "batch_type": "unsorted",
    # A run that is started again goes on; it never overwrites what it finds.
    "resume": True,
    # There is no attention to plot.
    "num_att_plot": 0,
}
"""ESPnet options whose default differs here."""

OPTIM_CONF = {"lr": 5e-5, "weight_decay": 0.0}
"""Published defaults of ``--optim_conf``."""


class WhisperDistillTask(DistillTask):
    """Student, teacher, labels and validation as an ESPnet task."""

    _loaded: ClassVar[tuple[Any, WhisperBundle] | None] = None

    # --- Options
    @classmethod
    def add_task_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Add our options and set our defaults."""
        group = parser.add_argument_group("Distillation")
        model = "Whisper as a Hugging Face folder, or a hub repository"
        group.add_argument("--student", type=str_or_none, help=f"{model}; it is trained")
        group.add_argument("--teacher", type=str_or_none, help=f"{model}; none = labels alone")
        for name, text in (
            ("student_conf", "Dropout, SpecAugment and the like"),
            ("teacher_conf", "Type of weights and the like"),
            ("kd_conf", "Loss, labels, data and validation"),
        ):
            group.add_argument(f"--{name}", action=NestedDictAction, default={}, help=text)
        for mode in ("train", "valid"):
            group.add_argument(
                f"--{mode}_dir",
                nargs="+",
                default=[],
                metavar="DIR",
                help="Folders of bin.whisper_pseudo_label or whisper_filter, or Kaldi folders",
            )
        group.add_argument(
            "--check_data", type=str2bool, default=True, help="Check audio headers at the start"
        )
        parser.set_defaults(**DEFAULTS)

    @classmethod
    def complete(cls, args: argparse.Namespace) -> None:
        """Without decoding, the loss tells which epochs are best."""
        default = DEFAULTS["best_model_criterion"]
        if args.kd_conf.get("predict_with_generate") is False and (
            args.best_model_criterion == default
        ):
            args.best_model_criterion = [["valid", "loss", "min"]]

    @classmethod
    def problems(cls, args: argparse.Namespace) -> list[str]:
        """What is wrong with the options, each with its key path."""
        return whisper_problems(args)

    @classmethod
    def check_before_training(cls, args: argparse.Namespace) -> None:
        """Look at models and recordings, so that nothing fails after hours.

        Raises:
            KDError: a path does not exist.
            DataDirError: all problems of the recordings.
        """
        for option in ("student", "teacher"):
            name = getattr(args, option)
            # Two words with a slash may be a hub repository, which loading will tell.
            if name is not None and not Path(name).is_dir() and name.count("/") != 1:
                raise KDError(
                    f"{option} {name}: no such folder; run the stage that makes it, or give a hub "
                    "repository as owner/name"
                )
        if args.check_data:
            kd = WhisperDistillConfig.from_dict(args.kd_conf)
            folders = [folder for mode in MODES for folder in folders_of(args, mode)]
            check_headers(dict.fromkeys(folders), audio_policy(kd))

    # --- Parts
    @classmethod
    def build_model(cls, args: argparse.Namespace) -> WhisperDistillModel:
        """The student; the teacher comes later, in real training only.

        Raises:
            KDError: the first process of a distributed run cannot start, or the student is no
                Whisper.
            ConfigError: labels longer than the student takes.
        """
        agree_to_start(vars(args).pop("start_error", None))
        bundle = load_student(args.student, args.student_conf)
        cls._loaded = (_student_key(args), bundle)
        kd = WhisperDistillConfig.from_dict(args.kd_conf)
        check_student(bundle, kd)
        model = WhisperDistillModel(bundle, kd, with_teacher=args.teacher is not None)
        args.kd_task = "whisper_distill"  # config.yaml tells bin.export whose run this is
        if not model.all_parameters_each_step:
            args.unused_parameters = True
        return model

    @classmethod
    def student_of(cls, args: argparse.Namespace) -> WhisperBundle:
        """The student that this process has built, for its tokenizer and feature extractor."""
        if cls._loaded is None or cls._loaded[0] != _student_key(args):
            cls._loaded = (_student_key(args), load_student(args.student, args.student_conf))
        return cls._loaded[1]

    @classmethod
    def build_optimizers(
        cls, args: argparse.Namespace, model: torch.nn.Module
    ) -> list[torch.optim.Optimizer]:
        """Decay for all trained weights but biases and LayerNorms, as published."""
        if not isinstance(model, WhisperDistillModel) or args.exclude_weight_decay:
            optimizers: list[torch.optim.Optimizer] = super().build_optimizers(args, model)
            return optimizers
        conf = {**OPTIM_CONF, **args.optim_conf}
        groups = parameter_groups(model.student, conf.pop("weight_decay"), model.kd.freezing)
        optimizer_class: Any = abs_task.optim_classes[args.optim]
        return [optimizer_class([group for group in groups if group["params"]], **conf)]

    # --- Data
    @classmethod
    def optional_data_names(cls, train: bool = True, inference: bool = False) -> tuple[str, ...]:
        """Pseudo-labels or transcripts."""
        return ("labels", "text")

    @classmethod
    def build_preprocess_fn(cls, args: argparse.Namespace, train: bool) -> LabelPreparation:
        """Timestamps and prompts of each label."""
        bundle = cls.student_of(args)
        kd = WhisperDistillConfig.from_dict(args.kd_conf)
        options = kd.label_options(bundle.model.config.max_target_positions)
        return LabelPreparation(bundle.specials, options, train=train)

    @classmethod
    def build_collate_fn(cls, args: argparse.Namespace, train: bool) -> WhisperCollate:
        """Log-mel features, and labels padded to the longest."""
        bundle = cls.student_of(args)
        kd = WhisperDistillConfig.from_dict(args.kd_conf)
        longest = kd.longest_label(bundle.model.config.max_target_positions)
        return WhisperCollate(bundle, longest if kd.pad_to_max_length else None)

    @classmethod
    def build_sequence_iter_factory(
        cls, args: argparse.Namespace, iter_options: IteratorOptions, mode: str
    ) -> AbsIterFactory:
        """Iterate over the folders of ``mode``."""
        bundle, train = cls.student_of(args), mode == "train"
        kd = WhisperDistillConfig.from_dict(args.kd_conf)
        places = folders_of(args, mode)
        folders = [
            SpeechFolder(place, bundle, kd, train=train, name=name)
            for place, name in zip(places, names_of(places), strict=True)
        ]
        dataset = Utterances(folders, iter_options.preprocess_fn)
        world = torch.distributed if iter_options.distributed else None
        processes = world.get_world_size() if world else 1
        rank = world.get_rank() if world else 0
        batches: MixedBatches | list[list[str]]
        if train:
            sets = dataset.keys()
            counts = shares([len(keys) for keys in sets], kd.train_dataset_samples)
            batches = MixedBatches(
                sets,
                counts,
                iter_options.batch_size,
                args.seed,
                processes=processes,
                rank=rank,
                drop_last=args.drop_last_iter,
            )
            _tell_mixture(folders, counts, iter_options.batch_size, args.accum_grad)
        else:
            if kd.predict_with_generate:
                _check_references(folders, Validation(bundle, kd))
            batches = fixed_batches(
                dataset.longest_first(), iter_options.batch_size, processes, rank
            )
        return SequenceIterFactory(
            dataset=dataset,
            batches=batches,
            seed=args.seed,
            num_iters_per_epoch=iter_options.num_iters_per_epoch,
            num_workers=args.num_workers,
            collate_fn=iter_options.collate_fn,
            pin_memory=args.ngpu > 0,
        )


def _student_key(args: argparse.Namespace) -> tuple[str, str]:
    return args.student, repr(sorted(args.student_conf.items()))


def _check_references(folders: Sequence[SpeechFolder], validation: Validation) -> None:
    """Whether every validation set can be scored."""
    for folder in folders:
        spoken = (folder.labels.read(usable.id) for usable in folder.utterances)
        validation.check_references(folder.name, spoken)


def _tell_mixture(
    folders: Sequence[SpeechFolder], counts: Sequence[int], batch_size: int, accum_grad: int
) -> None:
    parts = ", ".join(
        f"{count} of {folder.name} (which has {len(folder.utterances)})"
        for folder, count in zip(folders, counts, strict=True)
    )
    _LOG.info(
        f"[train] an epoch has {parts}; an update sees {batch_size * accum_grad} utterances "
        f"(batch_size {batch_size} over all processes x accum_grad {accum_grad})"
    )
