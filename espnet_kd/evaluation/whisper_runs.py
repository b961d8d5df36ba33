"""Run a Whisper model over a Kaldi folder: predictions line by line, then one file of metrics."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from espnet_kd.data.audio import AudioPolicy
from espnet_kd.data.record_log import RecordLog
from espnet_kd.data.recordings import Recordings, open_recordings
from espnet_kd.errors import DataDirError, WhisperError
from espnet_kd.evaluation.transcripts import score_transcripts
from espnet_kd.evaluation.wer import read_text
from espnet_kd.utils.files import write_json
from espnet_kd.utils.progress import Progress
from espnet_kd.utils.stamps import stamp_of_model
from espnet_kd.whisper.load import WhisperBundle
from espnet_kd.whisper.normalisers import NO_SPACES, make_normaliser, spelling_of
from espnet_kd.whisper.transcribe import SAMPLE_RATE, DecodeOptions, Transcriber, Transcript, Wave
from espnet_kd.whisper.transcribe_chunked import chunk_length, transcribe_chunked

LongForm = Literal["sequential", "chunked", "refuse"]
Batch = list[tuple[str, Wave]]


@dataclass(frozen=True)
class EvaluationPlan:
    """How to decode and score."""

    decode: DecodeOptions = field(default_factory=DecodeOptions)
    """Language, beams, length."""

    long_form: LongForm = "sequential"
    """What to do with audio that does not fit the model's window."""

    chunk_seconds: float | None = None
    """Length of the chunks of the chunked long form; None = the window."""

    batch_size: int = 8
    """Utterances per batch (chunks, in the chunked long form)."""

    normaliser: str = "auto"
    """``auto`` (by language), ``english``, ``basic``, ``arabic`` or ``none``."""

    policy: AudioPolicy = field(default_factory=AudioPolicy)
    """What an acceptable recording is."""


@dataclass(frozen=True)
class DataSet:
    """One Kaldi folder to recognise."""

    folder: Path
    """With wav.scp (and segments), and text where it shall be scored."""

    dataset_id: str
    """Name of the corpus."""

    split: str
    """Name of the part."""

    @classmethod
    def of(cls, folder: Path, dataset_id: str | None = None) -> DataSet:
        """Named by the folder and the one above it, ``corpus/split``."""
        place = folder.resolve()
        return cls(folder, dataset_id or place.parent.name, place.name)


def file_stem(model: str, data: DataSet) -> str:
    """``<model>_<dataset>_<split>`` in letters that file names may have."""
    parts = (model, data.dataset_id, data.split)
    return "_".join(re.sub(r"[^\w.-]+", "-", part) for part in parts)


def evaluate(
    bundle: WhisperBundle, model_id: str, data: DataSet, out: Path, plan: EvaluationPlan
) -> dict[str, Any]:
    """Recognise one folder, write predictions and metrics, and return the metrics.

    A stopped run goes on behind the last prediction that was written.

    Args:
        bundle: the model.
        model_id: its name in the metrics.
        data: folder and names.
        out: gets ``<stem>_predictions.jsonl`` and ``<stem>_metrics.json``.
        plan: how to decode and score.

    Raises:
        DataDirError: a folder with problems.
        AudioError: a recording that cannot be used.
        WhisperError: audio over the window with ``long_form="refuse"``.
    """
    stem = file_stem(bundle.name, data)
    recordings = open_recordings(data.folder, plan.policy)
    references = read_references(data.folder, recordings)
    transcriber = Transcriber(bundle, plan.decode)
    if plan.long_form == "chunked":  # long audio may only come after hours of short one
        chunk_length(transcriber, plan.chunk_seconds)
    settings = signature(model_id, bundle, data, plan)
    log = RecordLog(out / f"{stem}_predictions.jsonl", settings)
    recognise(transcriber, recordings, log, plan, stem, references)
    # A folder may have lost utterances since the run that was stopped.
    records = [log.records[key] for key in recordings.utterances]
    metrics = {
        "model_id": model_id,
        "dataset_id": data.dataset_id,
        "split": data.split,
        "num_samples": len(records),
        **_error_rates(records, references, bundle, plan),
        **speed(records),
        "parameters": sum(parameter.numel() for parameter in bundle.model.parameters()),
        "long_form": plan.long_form,
        "num_long": sum(record["form"] != "short" for record in records),
        "batch_size": plan.batch_size,
        "num_beams": plan.decode.num_beams,
        "language": plan.decode.language,
        "normaliser": plan.normaliser,
        "dtype": str(bundle.model.dtype).removeprefix("torch."),
        "device": str(bundle.model.device),
    }
    write_json(out / f"{stem}_metrics.json", metrics)
    return metrics


def recognise(
    transcriber: Transcriber,
    recordings: Recordings,
    log: RecordLog,
    plan: EvaluationPlan,
    title: str,
    references: Mapping[str, str],
) -> None:
    """Write a record for every utterance that ``log`` does not have yet."""
    todo = [key for key in recordings.utterances if key not in log.records]
    if not todo:
        return
    transcriber.warm_up()
    done = len(recordings.utterances) - len(todo)
    with Progress(title, len(recordings.utterances), "utterances") as progress:
        progress.reach(done)
        for form, batch in _batches(todo, recordings, transcriber, plan):
            found = _transcribe(transcriber, form, [wave for _, wave in batch], plan)
            log.append(
                {
                    "id": key,
                    "prediction": transcript.text,
                    "reference": references.get(key),
                    "seconds": round(len(wave) / SAMPLE_RATE, 4),
                    "generate_seconds": round(transcript.seconds, 6),
                    "form": form,
                }
                for (key, wave), transcript in zip(batch, found, strict=True)
            )
            done += len(batch)
            progress.reach(done)


def speed(records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Seconds of audio, of generation, and their ratio (RTFx, higher is faster)."""
    audio = sum(record["seconds"] for record in records)
    generation = sum(record["generate_seconds"] for record in records)
    return {
        "audio_seconds": round(audio, 2),
        "generate_seconds": round(generation, 3),
        "rtfx": round(audio / generation, 3),
    }


def read_references(folder: Path, recordings: Recordings) -> dict[str, str]:
    """Transcripts of all utterances; empty without a ``text`` file.

    Raises:
        DataDirError: an utterance has no transcript.
    """
    if not (folder / "text").is_file():
        return {}
    texts = read_text(folder / "text")
    missing = [key for key in recordings.utterances if key not in texts]
    if missing:
        raise DataDirError(
            f"{folder}/text has no transcript for {len(missing)} utterance(s), e.g. "
            f"{', '.join(missing[:3])}; add them, or remove text to recognise without scoring"
        )
    return {key: texts[key] for key in recordings.utterances}


def signature(
    model_id: str, bundle: WhisperBundle, data: DataSet, plan: EvaluationPlan
) -> dict[str, Any]:
    """What predictions depend on; a model that was trained again makes others."""
    values = dataclasses.asdict(plan)
    values.pop("normaliser")
    weights = stamp_of_model(bundle.model)
    return {"model": model_id, "weights": weights, "data": str(data.folder.resolve()), **values}


def _batches(
    utterances: Sequence[str],
    recordings: Recordings,
    transcriber: Transcriber,
    plan: EvaluationPlan,
) -> Iterator[tuple[str, Batch]]:
    """Batches of one form each, in the order in which they fill."""
    waiting: dict[str, Batch] = {"short": [], plan.long_form: []}
    for key in utterances:
        wave_S = recordings.wave(key)
        form: str = "short" if len(wave_S) <= transcriber.window else plan.long_form
        if form == "refuse":
            raise WhisperError(
                f"utterance {key} lasts {len(wave_S) / SAMPLE_RATE:.1f} s, the model's window is "
                f"{transcriber.window / SAMPLE_RATE:g} s; segment it, or choose --long_form "
                "sequential or chunked"
            )
        waiting[form].append((key, wave_S))
        size = 1 if form == "chunked" else plan.batch_size
        if len(waiting[form]) == size:
            yield form, waiting[form]
            waiting[form] = []
    yield from ((form, batch) for form, batch in waiting.items() if batch)


def _transcribe(
    transcriber: Transcriber, form: str, waves: Sequence[Wave], plan: EvaluationPlan
) -> list[Transcript]:
    if form == "short":
        return transcriber.transcribe(waves)
    if form == "sequential":
        return transcriber.transcribe_long(waves)
    return [
        transcribe_chunked(
            transcriber, wave, chunk_seconds=plan.chunk_seconds, batch_size=plan.batch_size
        )
        for wave in waves
    ]


def _error_rates(
    records: Sequence[Mapping[str, Any]],
    references: Mapping[str, str],
    bundle: WhisperBundle,
    plan: EvaluationPlan,
) -> dict[str, float | int]:
    if not references:
        return {}
    language = None
    if plan.decode.language is not None:
        language = bundle.specials.language_code(plan.decode.language)
    is_english = plan.normaliser == "english" or (
        plan.normaliser == "auto" and language in (None, "en")
    )
    spelling = spelling_of(bundle.tokenizer) if is_english else None
    normalise = make_normaliser(plan.normaliser, language, spelling)
    hypotheses = {record["id"]: record["prediction"] for record in records}
    letters = language in NO_SPACES and plan.normaliser in ("auto", "basic")
    return score_transcripts(references, hypotheses, normalise, letters=letters).metrics()
