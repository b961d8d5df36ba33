"""An extraction from the start, or from where it was interrupted, in one process or in several.

Each process appends to an archive of its own, batch by batch, down to the disk: a killed run loses
at most the batches that were being computed. The number of processes may change between runs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from espnet_kd.bin.extraction_job import Batch, ExtractionJob, Extractor, Plan, make_plan, read_wave
from espnet_kd.bin.processes import Machine, end_with_parent, run_shares
from espnet_kd.data.ark_tables import scan, write_counts, write_scp
from espnet_kd.data.array_ark import ArkWriter, ark_path, ark_paths, mend
from espnet_kd.data.audio import Wave
from espnet_kd.data.codes import check_codes
from espnet_kd.data.codes_info import CODES, CodesInfo, write_info
from espnet_kd.data.label_shards import append, read_rows, shard_path, shard_paths
from espnet_kd.data.recordings import Recordings
from espnet_kd.errors import AudioError, ConfigError, DataDirError, KDError
from espnet_kd.tasks.lock import output_dir_lock
from espnet_kd.utils.ahead import computed_ahead
from espnet_kd.utils.devices import check_gpus
from espnet_kd.utils.files import write_json
from espnet_kd.utils.model_directory import read_json
from espnet_kd.utils.progress import Progress

OPTIONS = "options.json"
SKIPPED = "skipped"


def run_extraction(job: ExtractionJob, machine: Machine) -> str:
    """Extract, or finish what an earlier run began.

    Returns:
        One sentence on what there is.

    Raises:
        KDError: wrong options, unreadable data or model, another run in the folder, or the folder
            was begun with other data, teacher or quantiser.
    """
    with output_dir_lock(job.folder):
        check_gpus(machine.ngpu)
        extractor = job.load()
        plan = make_plan(job, extractor.layer.rule.window)
        identity = extractor.identity(plan)
        _compare(job, identity)
        scp = job.folder / f"{job.kind}.scp"
        if not scp.exists():
            write_json(job.folder / OPTIONS, identity)
            _work(job, machine, extractor, plan)
            _finish(job, extractor, plan, identity)
        return _told(job, plan, scp)


def _compare(job: ExtractionJob, identity: dict[str, Any]) -> None:
    path = job.folder / OPTIONS
    if not path.exists():
        if ark_paths(job.folder, job.kind):
            raise KDError(f"{job.folder} holds {job.kind} of unknown origin; choose another --out")
        return
    earlier = read_json(path)
    problems = [
        f"{key} was {earlier.get(key)!r} and is now {identity.get(key)!r}"
        for key in dict.fromkeys((*earlier, *identity))
        if earlier.get(key) != identity.get(key)
    ]
    if problems:
        raise ConfigError(
            f"{job.folder} was begun with other data, teacher, quantiser or options; repeat them, "
            "or choose another --out",
            problems,
        )


def _work(job: ExtractionJob, machine: Machine, extractor: Extractor, plan: Plan) -> None:
    done = {entry.key for path in ark_paths(job.folder, job.kind) for entry in mend(path)}
    for path in shard_paths(job.folder, SKIPPED):
        path.unlink()
    rows = [{"id": key, "reason": reason} for key, reason in plan.bad.items()]
    append(shard_path(job.folder, SKIPPED, 0), rows)
    seconds = sum(plan.samples.values()) / job.policy.sample_rate
    with Progress(f"{job.kind} of {Path(job.data).resolve().name}", seconds / 3600, "h") as told:
        if machine.nj == 1:
            finished = [0.0]

            def report(more: float) -> None:
                finished[0] += more
                told.reach(finished[0] / 3600)

            extract_share(job, extractor.to(machine.device(0)), plan.batches, done, report=report)
        else:
            arguments = (job, machine, plan.batches, done)
            run_shares(_share, arguments, machine.nj, lambda sum_: told.reach(sum_ / 3600))


def _share(
    job: ExtractionJob, machine: Machine, batches: list[Batch], done: set[str], rank: int, sum_: Any
) -> None:
    """The share of one of several processes."""
    machine.share_threads()
    extractor = job.load().to(machine.device(rank))

    def report(more: float) -> None:
        end_with_parent()
        sum_.value += more

    extract_share(job, extractor, batches, done, rank=rank, processes=machine.nj, report=report)


def extract_share(
    job: ExtractionJob,
    extractor: Extractor,
    batches: list[Batch],
    done: set[str],
    *,
    rank: int = 0,
    processes: int = 1,
    report: Callable[[float], None] = lambda _: None,
) -> None:
    """Extract every ``processes``-th batch from ``rank`` on; each is stored as a whole.

    Args:
        job: what is extracted.
        extractor: computes.
        batches: all of them.
        done: utterances that need not be stored again.
        rank: number of this process.
        processes: how many there are.
        report: is called with the seconds of speech of each batch that is finished.

    Raises:
        KDError: a recording that cannot be used (the utterance is named), or a full disk.
    """
    recordings, rate = job.recordings(), job.policy.sample_rate

    def unfinished() -> Iterator[Batch]:
        for batch in batches[rank::processes]:
            if all(key in done for key, _ in batch):
                report(_seconds(batch, rate))
            else:
                yield batch

    with ArkWriter(ark_path(job.folder, job.kind, rank)) as writer:
        for batch, (waves, bad) in computed_ahead(lambda b: _read(recordings, b), unfinished()):
            if bad and not job.skip_bad:
                reason = next(iter(bad.values()))
                raise KDError(f"{reason}\n(--skip_bad true leaves such recordings out and goes on)")
            rows = [{"id": key, "reason": reason} for key, reason in bad.items()]
            append(shard_path(job.folder, SKIPPED, rank), rows)
            arrays = extractor.arrays(waves) if waves else {}
            writer.write({key: array for key, array in arrays.items() if key not in done})
            report(_seconds(batch, rate))


def _read(recordings: Recordings, batch: Batch) -> tuple[dict[str, Wave], dict[str, str]]:
    """The waveforms of a batch, and why others cannot be used."""

    def one(key: str, samples: int) -> Wave | str:
        try:
            return read_wave(recordings, key, samples)
        except AudioError as error:
            return str(error)

    found = {key: one(key, samples) for key, samples in batch}
    waves = {key: wave_S for key, wave_S in found.items() if not isinstance(wave_S, str)}
    return waves, {key: reason for key, reason in found.items() if isinstance(reason, str)}


def _seconds(batch: Batch, rate: int) -> float:
    return sum(samples for _, samples in batch) / rate


def _skipped(job: ExtractionJob) -> dict[str, str]:
    rows = [row for path in shard_paths(job.folder, SKIPPED) for _, row in read_rows(path)]
    return {row["id"]: row["reason"] for row in rows}


def _finish(job: ExtractionJob, extractor: Extractor, plan: Plan, identity: dict[str, Any]) -> None:
    """Write the tables; the one that ESPnet reads comes last."""
    found, samples = scan(job.folder, job.kind), plan.samples
    missing = sorted(samples.keys() - found.keys() - _skipped(job).keys())
    if missing:
        raise KDError(
            f"{job.folder}: {len(missing)} utterance(s) were not extracted, e.g. {missing[0]}; "
            "start the same command again"
        )
    write_counts(job.folder, found)
    frames = {key: entry.shape[0] for key, (_, entry) in found.items()}
    rule = extractor.layer.rule
    off = max(abs(count - rule.frames(samples[key])) for key, count in frames.items())
    source = {"teacher": job.teacher, "quantizer": job.quantizer, "data": job.data, **identity}
    scp = job.folder / f"{job.kind}.scp"
    if extractor.quantizer is not None:
        info = CodesInfo(
            num_codebooks=extractor.quantizer.config.num_codebooks,
            codebook_size=extractor.quantizer.config.codebook_size,
            dtype=job.code_dtype,
            rule=dataclasses.replace(rule, tolerance=max(rule.tolerance, off)),
            sample_rate=job.policy.sample_rate,
            utterances=len(found),
            frames=sum(frames.values()),
            source=source,
        )
        size = sum(path.stat().st_size for path in ark_paths(job.folder, job.kind))
        write_info(scp, info, {"bytes_on_disk": size})
    else:
        write_json(scp.with_suffix(".json"), {"frames": sum(frames.values()), **source})
    write_scp(job.folder, job.kind, found)


def _told(job: ExtractionJob, plan: Plan, scp: Path) -> str:
    """What there is, after a look at all of it: an archive may have gone since."""
    skipped = _skipped(job)
    samples = {key: count for key, count in plan.samples.items() if key not in skipped}
    said = f"{len(samples)} utterances"
    if job.kind == CODES:
        try:
            said = str(check_codes(scp, job.data, samples=samples))
        except DataDirError as error:
            raise DataDirError(
                f"{error}\nRemove {scp} and start the same command again: only what is missing "
                "will be extracted"
            ) from None
    note = f"; {len(skipped)} left out, see {job.folder / SKIPPED}.*.jsonl" if skipped else ""
    return f"{scp}: {said}{note}"
