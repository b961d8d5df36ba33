"""Batches of segments become pseudo-labels: read the audio, decode, describe.

Shape suffixes: S samples, B segments, M mel bins, F feature frames.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor

from espnet_kd.data.audio import Wave
from espnet_kd.data.label_plan import PlannedSegment
from espnet_kd.data.pseudo_labels import PseudoLabel
from espnet_kd.data.recording import write_audio
from espnet_kd.data.speech_source import SpeechSource
from espnet_kd.errors import AudioError
from espnet_kd.whisper.features import log_mel
from espnet_kd.whisper.hypothesis import Backend, Hypothesis
from espnet_kd.whisper.label_checks import LoopLimits, compression_ratio, label_flags
from espnet_kd.whisper.label_text import plain_text, transcript
from espnet_kd.whisper.load import WhisperBundle
from espnet_kd.whisper.packing import Clip, Segment


@dataclass(frozen=True, kw_only=True)
class PseudoLabelOptions:
    """What a label holds; names as in the published command."""

    language: str | None = None
    """Language of the speech; None: it is detected in each segment."""

    task: str = "transcribe"
    """``transcribe``, or ``translate`` into English."""

    return_timestamps: bool = False
    """Whether labels have timestamps."""

    decode_token_ids: bool = True
    """Whether ``whisper_transcript`` is text; False: ids, as uDistil's fork stores them."""

    truncated: Literal["flag", "drop"] = "flag"
    """What becomes of a label that the length cap cut."""

    write_audio: Literal["auto", "always"] = "auto"
    """``auto``: audio is written only where no file holds the segment as it is."""

    loops: LoopLimits = field(default_factory=LoopLimits)
    """What counts as a repetition that is no speech."""


@dataclass
class Heard:
    """A batch that was read: its usable segments, their audio and their features."""

    items: list[PlannedSegment]
    """Segments with at least one usable clip; what was unusable is left out of them."""

    waves: list[Wave]
    """(S,) samples of each."""

    features_BMF: Tensor | None
    """Log-mel features; None if nothing is usable."""

    skipped: list[dict[str, Any]]
    """Rows for skipped.jsonl."""


@dataclass(frozen=True)
class Labelled:
    """What came of a batch."""

    rows: list[dict[str, Any]]
    """Rows of a shard: index, place of the audio, label."""

    skipped: list[dict[str, Any]]
    """Rows for skipped.jsonl."""


class Labeller:
    """Label segments of one source with one backend."""

    def __init__(
        self,
        backend: Backend,
        bundle: WhisperBundle,
        source: SpeechSource,
        options: PseudoLabelOptions,
        folder: Path,
        *,
        feature_device: str = "cpu",
        readers: int = 1,
    ) -> None:
        """Check the options against the model.

        Args:
            backend: decodes.
            bundle: tokenizer, feature extractor and special tokens.
            source: gives the audio.
            options: what a label holds.
            folder: where audio is written.
            feature_device: where features are computed.
            readers: threads that read audio.

        Raises:
            WhisperError: a language or task that the model does not have.
        """
        self.backend = backend
        self.bundle = bundle
        self.source = source
        self.options = options
        self.folder = folder
        self.feature_device = feature_device
        self.readers = readers
        self._codes = {token: code for code, token in bundle.specials.languages.items()}
        self._detect = bundle.specials.is_multilingual and options.language is None
        self._prefix(None if not self._detect else next(iter(self._codes.values())))

    def _prefix(self, detected: str | None) -> list[int]:
        options = self.options
        return self.bundle.specials.prefix(
            options.language or detected, options.task, options.return_timestamps
        )

    def hear(self, batch: Sequence[PlannedSegment]) -> Heard:
        """Read a batch; clips that cannot be used are left out and reported."""
        heard = Heard([], [], None, [])
        with ThreadPoolExecutor(self.readers) as pool:
            for item, found in zip(batch, pool.map(self._read_all, batch), strict=True):
                self._add(item, found, heard)
        if heard.waves:
            heard.features_BMF = log_mel(
                self.bundle.feature_extractor,
                heard.waves,
                [item.id for item in heard.items],
                device=self.feature_device,
            )
        return heard

    def _read_all(self, item: PlannedSegment) -> list[tuple[Clip, Wave | AudioError]]:
        return [(clip, self._read(clip)) for clip in item.segment.clips]

    def _read(self, clip: Clip) -> Wave | AudioError:
        try:
            return self.source.read(clip)
        except AudioError as error:
            return error

    def _add(
        self, item: PlannedSegment, found: list[tuple[Clip, Wave | AudioError]], heard: Heard
    ) -> None:
        """Join what could be read of a segment, and report what could not."""
        heard.skipped += [
            {"id": clip.source_id or clip.id, "segment": item.id, "reason": str(error)}
            for clip, error in found
            if isinstance(error, AudioError)
        ]
        read = [(clip, wave_S) for clip, wave_S in found if not isinstance(wave_S, AudioError)]
        if not read:
            reason = "no utterance of the segment can be used"
            heard.skipped.append({"segment": item.id, "reason": reason, "dropped": True})
            return
        segment = Segment(tuple(clip for clip, _ in read), item.segment.condition_on_prev)
        heard.items.append(dataclasses.replace(item, segment=segment))
        heard.waves.append(np.concatenate([wave_S for _, wave_S in read]))

    def label(self, heard: Heard, done: frozenset[str] | set[str] = frozenset()) -> Labelled:
        """Decode what was heard; ``done`` segments are computed with the others, but not told."""
        if heard.features_BMF is None:
            return Labelled([], heard.skipped)
        encoded = self.backend.encode(heard.features_BMF)
        detected: list[str | None] = [None] * len(heard.items)
        if self._detect:
            detected = [self._codes[token] for token in self.backend.detect_languages(encoded)]
        hypotheses = self.backend.generate(encoded, [self._prefix(code) for code in detected])
        result = Labelled([], list(heard.skipped))
        for item, wave_S, code, hypothesis in zip(
            heard.items, heard.waves, detected, hypotheses, strict=True
        ):
            if item.id in done:
                continue
            if self.options.truncated == "drop" and not hypothesis.finished:
                reason = f"label cut at {len(hypothesis.prefix) + len(hypothesis.tokens)} tokens"
                result.skipped.append({"segment": item.id, "reason": reason, "dropped": True})
            else:
                result.rows.append(self._row(item, wave_S, code, hypothesis))
        return result

    def _row(
        self, item: PlannedSegment, wave_S: Wave, code: str | None, hypothesis: Hypothesis
    ) -> dict[str, Any]:
        label = self._describe(item, len(wave_S), code, hypothesis)
        return {
            "index": item.index,
            **self._place(item, wave_S),
            "samples": len(wave_S),
            "label": dataclasses.asdict(label),
        }

    def _describe(
        self, item: PlannedSegment, samples: int, code: str | None, hypothesis: Hypothesis
    ) -> PseudoLabel:
        specials, tokenizer, options = self.bundle.specials, self.bundle.tokenizer, self.options
        token_ids = hypothesis.label(specials.end)
        text = plain_text(hypothesis.tokens, tokenizer, specials)
        seconds = samples / self.bundle.feature_extractor.sampling_rate
        language = options.language and specials.language_code(options.language)
        return PseudoLabel(
            id=item.id,
            text=text,
            whisper_transcript=transcript(token_ids, tokenizer, specials)
            if options.decode_token_ids
            else token_ids,
            token_ids=token_ids,
            language=language or code or "en",
            task=options.task,
            duration=round(seconds, 4),
            source_ids=item.segment.source_ids,
            condition_on_prev=int(item.segment.condition_on_prev),
            reference=item.segment.text,
            avg_logprob=hypothesis.avg_logprob,
            mean_entropy=hypothesis.mean_entropy,
            num_tokens=len(hypothesis.tokens) + hypothesis.finished,
            truncated=not hypothesis.finished,
            compression_ratio=round(compression_ratio(text), 4),
            flags=label_flags(hypothesis, text, seconds, specials, options.loops),
            speaker=item.segment.speaker,
        )

    def _place(self, item: PlannedSegment, wave_S: Wave) -> dict[str, Any]:
        """A file and, if it holds more, the stretch of it; the audio is written if none has it."""
        clips = item.segment.clips
        if len(clips) == 1 and self.options.write_audio == "auto":
            original = self.source.original(clips[0])
            if original is not None:
                span = [clips[0].start, clips[0].start + len(wave_S)] if clips[0].ranged else None
                return {"wav": original, "span": span}
        path = self.folder / "audio" / f"{item.index // 1000:05d}" / f"{item.index:08d}.flac"
        write_audio(path, wave_S, self.bundle.feature_extractor.sampling_rate)
        return {"wav": str(path), "span": None}
