"""The shards of all processes become one labelled folder, in the order of the data."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from espnet_kd.data.kaldi_dir import KaldiDir, write_kaldi_dir
from espnet_kd.data.label_plan import PLAN
from espnet_kd.data.label_run import LABEL_SHARD, SKIP_SHARD
from espnet_kd.data.label_shards import read_rows, row_at, shard_paths
from espnet_kd.data.pseudo_labels import LABELS, PseudoLabel, parse_label
from espnet_kd.data.segments import Span
from espnet_kd.errors import DataDirError
from espnet_kd.utils.files import atomic_path, write_json, write_text
from espnet_kd.utils.model_directory import read_json
from espnet_kd.utils.options import from_mapping
from espnet_kd.whisper.prompts import next_prompt, published_prompt
from espnet_kd.whisper.specials import SpecialIds

SKIPPED, SUMMARY = "skipped.jsonl", "summary.json"
_UNFIT_AS_PROMPT = {"truncated", "empty", "repeated"}

Prompts = Literal["fixed", "published", "none"]


@dataclass
class Summary:
    """Totals of a run."""

    segments: int = 0
    """Labelled segments."""

    utterances: int = 0
    """Utterances that are heard in them."""

    hours: float = 0.0
    """Their duration."""

    tokens: int = 0
    """Tokens decoded."""

    skipped: int = 0
    """Rows of skipped.jsonl."""

    flags: dict[str, int] = field(default_factory=dict)
    """How many labels have each flag."""

    def __str__(self) -> str:
        flags = ", ".join(f"{count} {name}" for name, count in self.flags.items()) or "none flagged"
        return (
            f"{self.segments} segments ({self.hours:.2f} h, {self.utterances} utterances, "
            f"{self.tokens} tokens): {flags}; {self.skipped} skipped"
        )


def merge_shards(
    folder: Path, specials: SpecialIds, *, prompts: Prompts = "fixed", sample_rate: int = 16000
) -> Summary:
    """Write ``labels.jsonl``, the Kaldi tables, ``skipped.jsonl`` and ``summary.json``.

    ``labels.jsonl`` appears last; then shards and plan go away.

    Raises:
        DataDirError: no segment was labelled (the first reasons are listed).
    """
    skipped = _skipped(folder)
    data, spans, summary = KaldiDir({}, {}), {}, Summary(skipped=len(skipped))
    flags: Counter[str] = Counter()
    with atomic_path(folder / LABELS) as new:
        with new.open("w", encoding="utf-8") as stream:
            for row, label in _with_prompts(_in_order(folder), specials, prompts):
                stream.write(label.line())
                data.wav_scp[label.id] = row["wav"]
                data.utt2spk[label.id] = label.speaker or label.id
                data.num_samples[label.id] = row["samples"]
                spans[label.id] = row["span"]
                flags.update(label.flags)
                summary.segments += 1
                summary.utterances += len(label.source_ids)
                summary.hours += row["samples"] / sample_rate / 3600
                summary.tokens += label.num_tokens
        if not summary.segments:
            raise DataDirError(_nothing(folder, skipped))
        summary.flags = dict(sorted(flags.items()))
        write_text(folder / SKIPPED, "".join(_line(row) for row in skipped))
        write_json(folder / SUMMARY, vars(summary))
        write_kaldi_dir(folder, _with_segments(data, spans, sample_rate))
    discard_intermediate(folder)
    return summary


def discard_intermediate(folder: Path) -> None:
    """Remove shards and plan of a folder that is complete."""
    shards = [path for kind in (LABEL_SHARD, SKIP_SHARD) for path in shard_paths(folder, kind)]
    for path in (*shards, folder / PLAN):
        path.unlink(missing_ok=True)


def read_summary(folder: Path) -> Summary:
    """Totals of a folder that is complete.

    Raises:
        ConfigError: the file was changed.
    """
    path = folder / SUMMARY
    return from_mapping(Summary, read_json(path), subject=str(path))


def _in_order(folder: Path) -> Iterator[dict[str, Any]]:
    """Rows of all shards by index; they are fetched one by one, so memory holds only places."""
    places = [
        (row["index"], path, offset)
        for path in shard_paths(folder, LABEL_SHARD)
        for offset, row in read_rows(path)
    ]
    for _, path, offset in sorted(places):
        yield row_at(path, offset)


def _with_prompts(
    rows: Iterator[dict[str, Any]], specials: SpecialIds, prompts: Prompts
) -> Iterator[tuple[dict[str, Any], PseudoLabel]]:
    """Give each label the prompt that the label before it makes."""
    before: PseudoLabel | None = None
    last = -1
    for row in rows:
        values = row["label"]
        # What continues a segment that could not be labelled continues nothing that is there.
        values["condition_on_prev"] *= int(row["index"] == last + 1 and before is not None)
        flag = values["condition_on_prev"]
        if before is not None and prompts == "published":
            values["prompt_ids"] = published_prompt(before.token_ids, flag, specials)
        elif before is not None and prompts == "fixed" and not _UNFIT_AS_PROMPT & {*before.flags}:
            values["prompt_ids"] = next_prompt(before.token_ids, flag, specials)
        before, last = parse_label(values, f"segment {values.get('id')}"), row["index"]
        yield row, before


def _skipped(folder: Path) -> list[dict[str, Any]]:
    """All reasons, each once: a resumed run may have met the same file again."""
    rows = [row for path in shard_paths(folder, SKIP_SHARD) for _, row in read_rows(path)]
    return [json.loads(line) for line in dict.fromkeys(map(_line, rows))]


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


def _with_segments(
    data: KaldiDir, spans: dict[str, list[int] | None], sample_rate: int
) -> KaldiDir:
    """Add ``segments`` if a label belongs to a stretch of a file; recordings are then numbered."""
    if not any(spans.values()):
        return data
    files = {
        path: f"recording{n:08d}" for n, path in enumerate(dict.fromkeys(data.wav_scp.values()))
    }
    for key, span in spans.items():
        first, stop = span or [0, data.num_samples[key]]
        recording = files[data.wav_scp[key]]
        data.segments[key] = Span(recording, first / sample_rate, stop / sample_rate)
    data.wav_scp = {name: path for path, name in files.items()}
    return data


def _nothing(folder: Path, skipped: list[dict[str, Any]]) -> str:
    reasons = "".join(f"\n  {row['reason']}" for row in skipped[:5])
    return f"{folder}: not one segment could be labelled; {len(skipped)} reason(s){reasons}"
