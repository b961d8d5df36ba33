"""Compute scores in batches; each one is written at once, and none is computed twice."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from espnet_kd.data.record_log import RecordLog
from espnet_kd.filtering.measure import Item, Measure
from espnet_kd.utils.progress import Progress
from espnet_kd.whisper.wer_filter import Score


def score_all(
    measure: Measure, items: Sequence[Item], folder: Path, batch_size: int = 8
) -> dict[str, Score]:
    """Score every item.

    Scores are kept in ``folder`` as ``<measure>.jsonl``. A later call takes those whose label and
    reference are still the same; scores of other settings are put aside.

    Args:
        measure: any measure.
        items: labels with their audio.
        folder: the cache.
        batch_size: labels per call of the measure.
    """
    log = RecordLog(folder / f"{measure.name}.jsonl", measure.signature())
    scores = {}
    for item in items:
        record = log.records.get(item.label.id)
        if record is not None and record.get("label") == _fingerprint(item):
            scores[item.label.id] = Score(record["score"], record.get("note", ""))
    todo = [item for item in items if item.label.id not in scores]
    if todo:
        with Progress(measure.name, len(items), "labels") as progress:
            progress.reach(len(scores))
            for batch in _batches(todo, batch_size):
                found = [_finite(score) for score in measure.score(batch)]
                log.append(_record(item, score) for item, score in zip(batch, found, strict=True))
                scores |= {item.label.id: s for item, s in zip(batch, found, strict=True)}
                progress.reach(len(scores))
    return {item.label.id: scores[item.label.id] for item in items}


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
    return {"id": item.label.id, "label": _fingerprint(item), "score": score.value, **note}


def _fingerprint(item: Item) -> str:
    """Changes when what is scored changes."""
    label = item.label
    scored = [label.text, label.whisper_transcript, label.token_ids, label.language,
              label.reference, label.avg_logprob, label.mean_entropy, item.speech()]  # fmt: skip
    return hashlib.sha256(json.dumps(scored).encode()).hexdigest()[:12]
