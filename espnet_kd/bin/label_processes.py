"""A labelling run from the start, or from where it was interrupted, in one process or in several.

Labels, plan and reasons are files of the output folder, so a killed run loses at most the batches
that were being decoded. The number of processes and devices may change between runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from espnet_kd.bin.processes import Machine, end_with_parent, run_shares
from espnet_kd.data.label_job import LabelJob
from espnet_kd.data.label_merge import Summary, discard_intermediate, merge_shards, read_summary
from espnet_kd.data.label_plan import PLAN, PlannedSegment, plan_segments, read_plan, write_plan
from espnet_kd.data.label_run import SKIP_SHARD, finished_segments, label_share
from espnet_kd.data.label_shards import append, shard_path
from espnet_kd.data.labelling import Labeller
from espnet_kd.data.pseudo_labels import LABELS
from espnet_kd.data.speech_source import SpeechSource
from espnet_kd.tasks.lock import output_dir_lock
from espnet_kd.utils.devices import check_gpus
from espnet_kd.utils.progress import Progress
from espnet_kd.whisper.load import WhisperBundle


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
    run_shares(
        work_as_one, (job, machine, done), machine.nj, lambda sum_: progress.reach(sum_ / 3600)
    )


def work_as_one(job: LabelJob, machine: Machine, done: set[str], rank: int, seconds: Any) -> None:
    """The share of one of several processes."""
    machine.share_threads()
    readers = machine.dataloader_num_workers
    labeller = job.labeller(job.load(), job.source(), machine.device(rank), readers)
    rate = labeller.bundle.feature_extractor.sampling_rate

    def report(batch: Iterable[PlannedSegment]) -> None:
        end_with_parent()
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
