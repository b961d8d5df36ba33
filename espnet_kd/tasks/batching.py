"""ESPnet's iterator over DPHuBERT's batches (``kd_conf.batching``)."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from espnet2.iterators.sequence_iter_factory import SequenceIterFactory
from espnet2.samplers.abs_sampler import AbsSampler
from espnet2.tasks.abs_task import AbsTask, IteratorOptions

from espnet_kd.data.length_batches import (
    LengthLimits,
    fill_batches,
    halve_to_multiple,
    permuted,
    share,
    share_published,
)
from espnet_kd.data.tables import read_table
from espnet_kd.errors import DataDirError
from espnet_kd.tasks.batching_options import BatchingOptions
from espnet_kd.tasks.options import DistillConfig
from espnet_kd.tasks.students import student_config

_LOG = logging.getLogger(__name__)

PUBLISHED_SEED = 0
"""Seed of the one order that all published runs have."""

Batches = list[list[str]]


class EpochBatches(AbsSampler):
    """One process's batches of utterance ids; their order depends on ESPnet's seed of the epoch.

    Args:
        batches: of all processes, shortest utterances first.
        published: one order for ever and repeated batches, as published.
        reorder: another order for each epoch (training); with ``published`` it has no effect.
        processes: number of processes that share the batches.
        rank: this one, from 0.
    """

    def __init__(
        self, batches: Batches, *, published: bool, reorder: bool, processes: int = 1, rank: int = 0
    ) -> None:
        self.batches = batches if published else halve_to_multiple(batches, processes)
        self.published = published
        self.reorder = reorder
        self.processes = processes
        self.rank = rank

    def generate(self, seed: int) -> Batches:
        """This process's batches of the epoch that has this seed."""
        if self.published:
            ordered = permuted(self.batches, PUBLISHED_SEED)
            return share_published(ordered, self.processes, self.rank)
        ordered = permuted(self.batches, seed) if self.reorder else self.batches
        return share(ordered, self.processes, self.rank)

    def __len__(self) -> int:
        return len(self.generate(0))

    def __iter__(self) -> Iterator[list[str]]:
        return iter(self.generate(0))

    def utterances(self) -> set[str]:
        """Ids of all processes' utterances: each comes to each process in some epoch."""
        return {key for batch in self.batches for key in batch}


def length_iter_factory(
    task: type[AbsTask], args: argparse.Namespace, iter_options: IteratorOptions, mode: str
) -> SequenceIterFactory:
    """ESPnet's iterator over this process's batches.

    Args:
        task: builds the dataset.
        args: the command line; ``kd_conf.batching`` is on.
        iter_options: ESPnet's options for this mode.
        mode: ``train`` or ``valid``.

    Raises:
        DataDirError: no utterance has the allowed length.
    """
    options, batches = _batches_of(args, iter_options.shape_files[0], mode)
    world = torch.distributed if iter_options.distributed else None
    sampler = EpochBatches(
        batches,
        published=options.published,
        reorder=mode == "train",
        processes=world.get_world_size() if world else 1,
        rank=world.get_rank() if world else 0,
    )
    if mode == "train":
        seconds = options.seconds_per_batch * args.accum_grad * sampler.processes
        _LOG.info(
            f"[train] an update sees up to {seconds:g} s: {options.seconds_per_batch:g} s per "
            f"batch, accum_grad {args.accum_grad}, {sampler.processes} process(es)"
        )
    return SequenceIterFactory(
        dataset=task.build_dataset(args, iter_options, sampler.utterances()),
        batches=sampler,
        seed=args.seed,
        num_iters_per_epoch=iter_options.num_iters_per_epoch,
        num_workers=args.num_workers,
        collate_fn=iter_options.collate_fn,
        pin_memory=args.ngpu > 0,
    )


def check_lengths(args: argparse.Namespace) -> None:
    """Make the batches of training and validation once, if ``kd_conf.batching`` is on.

    Raises:
        DataDirError: no utterance of one of them has the allowed length.
    """
    if args.kd_conf.get("batching") is not None:
        for mode in ("train", "valid"):
            _batches_of(args, getattr(args, f"{mode}_shape_file")[0], mode)


def _batches_of(
    args: argparse.Namespace, shape_file: str, mode: str
) -> tuple[BatchingOptions, Batches]:
    options = DistillConfig.from_dict(args.kd_conf).batching
    assert options is not None
    sample_rate = student_config(args.student, args.student_conf).sample_rate
    subject = f"[{mode}] {shape_file}"
    return options, length_batches(options, read_samples(shape_file), sample_rate, subject=subject)


def read_samples(shape_file: str) -> dict[str, int]:
    """Utterance id -> samples, from ``utt2num_samples`` or an ESPnet shape file.

    Raises:
        DataDirError: a value is no number.
    """
    samples = {}
    for key, row in read_table(Path(shape_file)).first().items():
        number = row.value.partition(",")[0]
        if not number.isdecimal():
            raise DataDirError(
                f"{shape_file}:{row.line}: {key} has {row.value!r} for its number of samples; "
                "use the data folder's utt2num_samples"
            )
        samples[key] = int(number)
    return samples


def length_batches(
    options: BatchingOptions, samples: Mapping[str, int], sample_rate: int, *, subject: str
) -> Batches:
    """Batches of utterance ids; what is left out and cropped is logged with its hours.

    Raises:
        DataDirError: no utterance has the allowed length.
    """
    limits = options.limits(sample_rate)
    keys, lengths = list(samples), list(samples.values())
    batches = fill_batches(lengths, limits)
    if not batches:
        raise DataDirError(_none_usable(subject, options, lengths, sample_rate))
    hours = 1 / (3600 * sample_rate)
    kept = [lengths[i] for batch in batches for i in batch]
    used = sum(len(batch) * min(_cut(lengths[i], limits) for i in batch) for batch in batches)
    if len(kept) < len(lengths):
        _LOG.info(
            f"{subject}: {len(lengths) - len(kept)} of {len(lengths)} utterances "
            f"({(sum(lengths) - sum(kept)) * hours:.2f} of {sum(lengths) * hours:.2f} h) are left "
            f"out: {_why(options, lengths, sample_rate)}"
        )
    _LOG.info(
        f"{subject}: {len(batches)} batches of up to {options.seconds_per_batch:g} s; cropping "
        f"uses {used * hours:.2f} of {sum(kept) * hours:.2f} h"
    )
    return [[keys[i] for i in batch] for batch in batches]


def _cut(length: int, limits: LengthLimits) -> int:
    return min(length, limits.longest)


def _why(options: BatchingOptions, lengths: Sequence[int], sample_rate: int) -> str:
    limits = options.limits(sample_rate)
    short = sum(length < limits.shortest for length in lengths)
    long = sum(length > limits.longest for length in lengths)
    reasons = [f"{short} shorter than min_seconds {options.min_seconds:g}"] if short else []
    if long and not limits.crop_longer:
        reasons.append(f"{long} longer than max_seconds {options.max_seconds:g}")
    return ", ".join(reasons)


def _none_usable(
    subject: str, options: BatchingOptions, lengths: Sequence[int], sample_rate: int
) -> str:
    if not lengths:
        return f"{subject}: lists no utterance; run the stage that prepares the data"
    return (
        f"{subject}: none of its {len(lengths)} utterances has the allowed length: "
        f"{_why(options, lengths, sample_rate)} (they have {min(lengths) / sample_rate:g} to "
        f"{max(lengths) / sample_rate:g} s); change these options of kd_conf.batching, or give "
        "a file with numbers of samples, e.g. utt2num_samples"
    )


def batching_problems(args: argparse.Namespace) -> list[str]:
    """ESPnet options that would undo the batches."""
    problems = [
        f"{name}: kd_conf.batching makes the batches itself; leave {name} out"
        for name in ("multiple_iterator", "shuffle_within_batch")
        if getattr(args, name)
    ]
    return problems + [
        f"{name}: kd_conf.batching is for iterator_type sequence, not {getattr(args, name)}"
        for name in ("iterator_type", "valid_iterator_type")
        if getattr(args, name) not in (None, "sequence")
    ]
