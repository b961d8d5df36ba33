"""The chunked long form: overlapping chunks decoded in batches, joined where their texts meet.

The algorithm is transformers' own pipeline, whose defaults (five beams) are overridden.
"""

from __future__ import annotations

import time
from typing import Any

from espnet_kd.errors import WhisperError
from espnet_kd.whisper.transcribe import SAMPLE_RATE, Transcriber, Transcript, Wave


def transcribe_chunked(
    transcriber: Transcriber,
    wave_S: Wave,
    *,
    chunk_seconds: float | None = None,
    batch_size: int = 1,
) -> Transcript:
    """Decode one recording of any length.

    Args:
        transcriber: model and options; its draft is not used.
        wave_S: (S,) float32 at 16 kHz.
        chunk_seconds: length of a chunk, by default the window. A sixth of it at each end overlaps
            with the neighbours.
        batch_size: chunks per batch.

    Returns:
        The text; its time includes the features, which the pipeline computes on its way.

    Raises:
        WhisperError: chunks longer than the window, which would be cut.
    """
    chunk = chunk_length(transcriber, chunk_seconds)
    begin = time.perf_counter()
    found = _pipeline(transcriber)(
        {"raw": wave_S, "sampling_rate": SAMPLE_RATE},
        chunk_length_s=chunk,
        batch_size=batch_size,
        ignore_warning=True,
        return_timestamps=True,
        generate_kwargs=transcriber.generation_arguments(),
    )
    return Transcript(found["text"].strip(), time.perf_counter() - begin)


def chunk_length(transcriber: Transcriber, chunk_seconds: float | None) -> float:
    """Seconds of a chunk; None = the window.

    Raises:
        WhisperError: chunks longer than the window, which would be cut.
    """
    window = transcriber.window / SAMPLE_RATE
    chunk = window if chunk_seconds is None else chunk_seconds
    if not 0 < chunk <= window:
        raise WhisperError(
            f"chunks of {chunk:g} s do not fit the window of {window:g} s; nothing may be cut"
        )
    return chunk


def _pipeline(transcriber: Transcriber) -> Any:
    from transformers import AutomaticSpeechRecognitionPipeline

    bundle = transcriber.bundle
    return AutomaticSpeechRecognitionPipeline(
        model=bundle.model,
        tokenizer=bundle.tokenizer,
        feature_extractor=bundle.feature_extractor,
        device=bundle.model.device,
        torch_dtype=bundle.model.dtype,
    )
