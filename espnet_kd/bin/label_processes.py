"""A labelling run from the start, or from where it was interrupted, in one process or in several.

Labels, plan and reasons are files of the output folder, so a killed run loses at most the batches
that were being decoded. The number of processes and devices may change between runs.
"""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from espnet_kd.data.label_job import LabelJob, check_gpus
from espnet_kd.data.label_merge import Summary, discard_intermediate, merge_shards, read_summary
from espnet_kd.data.label_plan import PLAN, PlannedSegment, plan_segments, read_plan, write_plan
from espnet_kd.data.label_run import SKIP_SHARD, finished_segments, label_share
from espnet_kd.data.label_shards import append, shard_path
from espnet_kd.data.labelling import Labeller
from espnet_kd.data.pseudo_labels import LABELS
from espnet_kd.data.speech_source import SpeechSource
from espnet_kd.tasks.lock import output_dir_lock
from espnet_kd.utils.progress import Progress
from espnet_kd.whisper.load import WhisperBundle

POLL_SECONDS = 0.5
START_METHOD = "spawn"
"""CUDA cannot be used in forked processes."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where the work is done; changes nothing in the results."""

    nj: int = 1
    """Processes."""

    ngpu: int = 0
    """GPUs; process i uses the one with number i modulo ngpu. 0 = CPU."""

    dataloader_num_workers: int = 4
    """Threads of each process that read audio."""

    def device(self, rank: int) -> str:
        """Device of a process."""
        return f"cuda:{rank % self.ngpu}" if self.ngpu else "cpu"


def run_job(job: LabelJob, machine: Machine) -> Summary:
    """Label one split, or finish it.

    Raises:
        KDError: wrong options, unreadable data or model, another run in the folder.
    """
    with output_dir_lock(job.folder):
        job.compare()
        if (job.folder / LABELS).exists():
            discard_intermediate(job.folder)
            return read_summary(job.folder)
        check_gpus(machine.ngpu)
        source, bundle = job.source(), job.prepare()
        job.check(bundle)
        job.remember()
        specials, rate = bundle.specials, bundle.feature_extractor.sampling_rate
        if not source.streamed and not (job.folder / PLAN).exists():
            make_plan(job, source, bundle)
        done = finished_segments(job.folder)
        with Progress(f"labels of {source.name}", _hours(job, rate), "h") as progress:
            if machine.nj == 1:
                readers = machine.dataloader_num_workers
                labeller = job.labeller(bundle, source, machine.device(0), readers)
                work_alone(job, labeller, done, progress)
            else:
                del bundle  # each process loads its own
                work_together(job, machine, done, progress)
        return merge_shards(job.folder, specials, prompts=job.prompts, sample_rate=rate)


def make_plan(job: LabelJob, source: SpeechSource, bundle: WhisperBundle) -> None:
    """Read all headers and write the plan; what cannot be used is told first."""
    bad: list[dict[str, Any]] = []

    def planned() -> Iterator[PlannedSegment]:
        counted = 0
        options = job.plan_options(bundle)
        for item in plan_segments(source, options, lambda *pair: bad.append(_reason(*pair))):
            counted += len(item.segment.clips)
            progress.reach(counted)
            yield item
        append(shard_path(job.folder, SKIP_SHARD, 0), bad)

    with Progress(f"plan of {source.name}", source.total, "utterances") as progress:
        write_plan(job.folder / PLAN, planned())


def _reason(utterance: str, reason: str) -> dict[str, Any]:
    """A row of skipped.jsonl."""
    return {"id": utterance, "reason": reason}


def planned_segments(job: LabelJob, labeller: Labeller, rank: int) -> Iterator[PlannedSegment]:
    """The stored plan; a stream is planned while it passes."""
    if not labeller.source.streamed:
        return read_plan(job.folder / PLAN)
    shard = shard_path(job.folder, SKIP_SHARD, 0)

    def note(name: str, reason: str) -> None:
        if rank == 0:
            append(shard, [_reason(name, reason)])

    return plan_segments(labeller.source, job.plan_options(labeller.bundle), note)


def work_alone(job: LabelJob, labeller: Labeller, done: set[str], progress: Progress) -> None:
    """Label everything in this process."""
    rate = labeller.bundle.feature_extractor.sampling_rate
    finished = [0, 0.0]

    def report(batch: Iterable[PlannedSegment]) -> None:
        for item in batch:
            finished[0] += 1
            finished[1] += item.segment.samples / rate / 3600
        progress.reach(finished[1], f"{finished[0]} segments")

    label_share(labeller, planned_segments(job, labeller, 0), done, report=report)


def work_together(job: LabelJob, machine: Machine, done: set[str], progress: Progress) -> None:
    """Label in several processes.

    Raises:
        ProcessExitedException: one of them failed; see :mod:`espnet_kd.bin.spawned`.
    """
    from torch.multiprocessing.spawn import ProcessContext

    context: Any = multiprocessing.get_context(START_METHOD)
    seconds = [context.Value("d", 0.0) for _ in range(machine.nj)]
    processes = [
        context.Process(target=work_as_one, args=(job, machine, rank, done, seconds[rank]))
        for rank in range(machine.nj)
    ]
    with tempfile.TemporaryDirectory() as nothing:
        for process in processes:
            process.start()
        unused = [str(Path(nothing) / str(rank)) for rank in range(machine.nj)]
        joined = ProcessContext(processes, unused)  # type: ignore[no-untyped-call]
        while not joined.join(timeout=POLL_SECONDS):
            done_hours = sum(value.value for value in seconds) / 3600
            if done_hours:  # the clock starts when the models are loaded
                progress.reach(done_hours)
    progress.reach(sum(value.value for value in seconds) / 3600)


def work_as_one(job: LabelJob, machine: Machine, rank: int, done: set[str], seconds: Any) -> None:
    """The share of one of several processes."""
    if not machine.ngpu:
        torch.set_num_threads(max(1, torch.get_num_threads() // machine.nj))
    readers = machine.dataloader_num_workers
    labeller = job.labeller(job.load(), job.source(), machine.device(rank), readers)
    rate = labeller.bundle.feature_extractor.sampling_rate

    def report(batch: Iterable[PlannedSegment]) -> None:
        seconds.value += sum(item.segment.samples for item in batch) / rate

    label_share(
        labeller,
        planned_segments(job, labeller, rank),
        done,
        rank=rank,
        processes=machine.nj,
        report=report,
    )


def _hours(job: LabelJob, sample_rate: int) -> float | None:
    """Hours of speech in the plan; None for a stream."""
    path = job.folder / PLAN
    if not path.exists():
        return None
    return sum(item.segment.samples for item in read_plan(path)) / sample_rate / 3600
