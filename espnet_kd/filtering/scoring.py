"""Compute scores in batches; each one is written at once, and none is computed twice."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from espnet_kd.errors import CheckpointError
from espnet_kd.filtering.measure import Item, Measure
from espnet_kd.utils.files import write_json
from espnet_kd.utils.jsonl import RecordLog
from espnet_kd.utils.model_directory import read_json
from espnet_kd.whisper.wer_filter import Score


def score_all(
    measure: Measure, items: Sequence[Item], folder: Path, batch_size: int = 8
) -> dict[str, Score]:
    """Score every item.

    Scores are kept in ``folder`` as ``<measure>.jsonl``. A later call takes those whose label and
    reference are still the same; scores of other settings are thrown away.

    Args:
        measure: any measure.
        items: labels with their audio.
        folder: the cache.
        batch_size: labels per call of the measure.
    """
    log = _open(measure, folder)
    scores = {}
    for item in items:
        record = log.records.get(item.label.id)
        if record is not None and record.get("label") == _fingerprint(item):
            scores[item.label.id] = Score(record["score"], record.get("note", ""))
    todo = [item for item in items if item.label.id not in scores]
    # No bar where nothing is left to do.
    with tqdm(
        total=len(items), initial=len(scores), desc=measure.name, unit="utt", disable=not todo
    ) as bar:
        for batch in _batches(todo, batch_size):
            found = [_finite(score) for score in measure.score(batch)]
            log.append(_record(item, score) for item, score in zip(batch, found, strict=True))
            scores |= {item.label.id: score for item, score in zip(batch, found, strict=True)}
            bar.update(len(batch))
    return {item.label.id: scores[item.label.id] for item in items}


def _open(measure: Measure, folder: Path) -> RecordLog:
    """The cache of a measure, emptied if it was made with other settings."""
    folder.mkdir(parents=True, exist_ok=True)
    settings, scores = folder / f"{measure.name}.json", folder / f"{measure.name}.jsonl"
    signature = json.loads(json.dumps(measure.signature()))
    if not settings.is_file() or _read(settings) != signature:
        scores.unlink(missing_ok=True)
        write_json(settings, signature)
    return RecordLog(scores)


def _read(file: Path) -> object:
    try:
        return read_json(file)
    except CheckpointError:
        return None  # damaged: as if it were not there


def _batches(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _finite(score: Score) -> Score:
    """No score instead of one that is no number, which JSON cannot hold."""
    if score.value is None or math.isfinite(score.value):
        return score
    return Score(None, f"the score is {score.value}")


def _record(item: Item, score: Score) -> dict[str, object]:
    note = {"note": score.note} if score.note else {}
    return {
        "id": item.label.id, "label": _fingerprint(item), "score": score.value, **note
    }  # fmt: skip


def _fingerprint(item: Item) -> str:
    """Changes when what is scored changes."""
    label = item.label
    scored = [label.text, label.whisper_transcript, label.reference, label.avg_logprob,
              label.mean_entropy]  # fmt: skip
    return hashlib.sha256(json.dumps(scored).encode()).hexdigest()[:12]
