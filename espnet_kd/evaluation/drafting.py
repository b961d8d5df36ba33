"""Speculative decoding measured: the same text as without a draft, and how much sooner.

Both sides decode one utterance at a time, by turns, so that a drift of the machine hits both.
transformers lifts its ban on an empty first token when it drafts; here both sides are without it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from espnet_kd.data.record_log import RecordLog
from espnet_kd.data.recordings import Recordings, open_recordings
from espnet_kd.evaluation.whisper_runs import (
    DataSet,
    EvaluationPlan,
    file_stem,
    signature,
)
from espnet_kd.utils.progress import Progress
from espnet_kd.utils.stamps import stamp_of_model
from espnet_kd.whisper.draft import make_draft
from espnet_kd.whisper.load import WhisperBundle
from espnet_kd.whisper.transcribe import SAMPLE_RATE, Transcriber, Wave


def compare_drafted(
    teacher: WhisperBundle, student: WhisperBundle, data: DataSet, out: Path, plan: EvaluationPlan
) -> dict[str, Any]:
    """Decode every utterance that fits the window twice; goes on where it was stopped.

    Args:
        teacher: the model whose text counts.
        student: drafts for it.
        data: folder and names.
        out: gets ``<stem>_drafted_by_<student>_predictions.jsonl``.
        plan: language and lengths; beams and batches are 1.

    Returns:
        Utterances, how many have identical text (and which do not), both times, their ratio.

    Raises:
        WhisperError: the student cannot draft for this teacher.
    """
    draft = make_draft(student, teacher)
    options = dataclasses.replace(plan.decode, num_beams=1, begin_suppress=False)
    plain, drafted = Transcriber(teacher, options), Transcriber(teacher, options, draft)
    stem = f"{file_stem(teacher.name, data)}_drafted_by_{student.name}"
    settings = {
        **signature(teacher.name, teacher, data, plan),
        "assistant": student.name,
        "assistant_weights": stamp_of_model(student.model),
    }
    log = RecordLog(out / f"{stem}_predictions.jsonl", settings)
    recordings = open_recordings(data.folder, plan.policy)
    _decode_both(plain, drafted, recordings, log, stem)
    records = [log.records[key] for key in recordings.utterances]
    return {
        "assistant": student.name,
        "shared_encoder": draft is not student.model,
        **summarise([record for record in records if record["fits"]]),
        "skipped_long": sum(not record["fits"] for record in records),
    }


def summarise(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Count identical texts and compare times."""
    different = [record["id"] for record in records if record["plain"] != record["drafted"]]
    plain = sum(record["plain_seconds"] for record in records)
    drafted = sum(record["drafted_seconds"] for record in records)
    return {
        "utterances": len(records),
        "identical": len(records) - len(different),
        "different_ids": different[:20],
        "plain_seconds": round(plain, 3),
        "drafted_seconds": round(drafted, 3),
        "speed_ratio": round(plain / drafted, 3) if drafted else None,
    }


def _decode_both(
    plain: Transcriber, drafted: Transcriber, recordings: Recordings, log: RecordLog, title: str
) -> None:
    todo = [key for key in recordings.utterances if key not in log.records]
    if not todo:
        return
    plain.warm_up()
    with Progress(title, len(recordings.utterances), "utterances") as progress:
        progress.reach(len(recordings.utterances) - len(todo))
        for key in todo:
            log.append([_decode(key, recordings.wave(key), plain, drafted)])
            progress.reach(progress.done + 1)


def _decode(key: str, wave_S: Wave, plain: Transcriber, drafted: Transcriber) -> dict[str, Any]:
    record: dict[str, Any] = {"id": key, "seconds": round(len(wave_S) / SAMPLE_RATE, 4)}
    record["fits"] = len(wave_S) <= plain.window
    if record["fits"]:
        for name, transcriber in (("plain", plain), ("drafted", drafted)):
            (transcript,) = transcriber.transcribe([wave_S])
            record[name] = transcript.text
            record[f"{name}_seconds"] = round(transcript.seconds, 6)
    return record
