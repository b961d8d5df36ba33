"""Transcribe audio with transformers' own generation: one window, longer in sequence, or drafted.

For scoring and for second opinions; pseudo-labels, with their scores, have a generator of their
own. Audio that does not fit the model's window is never cut: it is refused, or goes through one of
the two long forms (the other is :mod:`espnet_kd.whisper.transcribe_chunked`).

Shapes: S samples, B batch, M mel bins, T feature frames.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from espnet_kd.errors import ConfigError, WhisperError
from espnet_kd.utils.options import too_small
from espnet_kd.whisper.load import WhisperBundle

Wave = npt.NDArray[np.float32]
SAMPLE_RATE = 16000

TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Tried one after the other while a window of the sequential long form looks wrong (published)."""


@dataclass(frozen=True)
class DecodeOptions:
    """How to decode; defaults as published for evaluation (spec whisper.md 5), unless noted.

    Raises:
        ConfigError: numbers out of range.
    """

    language: str | None = None
    """Code or name. None: English for an English-only model, else each utterance's is detected."""

    task: str = "transcribe"
    """``transcribe`` or ``translate``."""

    num_beams: int = 1
    """1 is greedy."""

    max_length: int = 256
    """Longest token sequence of one window, prefix included."""

    timestamps: bool = False
    """Whether one window is decoded with timestamps (published: yes); long forms always are."""

    begin_suppress: bool = True
    """Forbid a blank or the end as first token. Drafted decoding has it always off, so compare
    with it off."""

    temperatures: tuple[float, ...] = TEMPERATURES
    """Of the sequential long form; a single 0.0 turns the fallback off."""

    logprob_threshold: float = -1.0
    """A window below this mean log-probability is decoded again, hotter."""

    compression_ratio_threshold: float = 1.35
    """A window that compresses better (a loop) is decoded again, hotter."""

    no_speech_threshold: float = 0.6
    """A window that is likelier than this to be silence, and unlikely as text, is skipped."""

    seed: int = 0
    """Of the sampling at temperatures above 0; the same for every batch."""

    def __post_init__(self) -> None:
        """Refuse what generation would fail over, with a traceback, after the models are loaded."""
        problems = too_small(self, {"num_beams": 1, "max_length": 1})
        problems += [
            f"{name} is nan; no window is better or worse than that"
            for name in (
                "logprob_threshold",
                "compression_ratio_threshold",
                "no_speech_threshold",
            )
            if math.isnan(getattr(self, name))
        ]
        if not self.temperatures:
            problems.append("temperatures is empty; give at least one")
        problems += [
            f"temperatures has {value:g}; none may be negative"
            for value in self.temperatures
            if not 0 <= value < math.inf
        ]
        if problems:
            raise ConfigError("decoding", problems)


@dataclass(frozen=True)
class Transcript:
    """What was heard in one utterance."""

    text: str
    """Without special tokens or timestamps."""

    seconds: float
    """Its share of the time that generation took, wall clock, features excluded."""


class Transcriber:
    """One model, its options, and possibly a smaller model that drafts for it.

    Args:
        bundle: the model.
        options: see there.
        draft: from :func:`espnet_kd.whisper.draft.make_draft`; then utterances go one by one.

    Raises:
        WhisperError: language or task that the model does not have; beams with a draft.
        ConfigError: a length that leaves no room for text.
    """

    def __init__(
        self, bundle: WhisperBundle, options: DecodeOptions | None = None, draft: Any = None
    ) -> None:
        self.bundle = bundle
        self.options = options or DecodeOptions()
        self.draft = draft
        self._language = self._arguments_of_language()
        self._refuse_no_room()
        if draft is not None and self.options.num_beams != 1:
            raise WhisperError("drafted decoding is greedy: num_beams must be 1")

    @property
    def window(self) -> int:
        """Samples that the model sees at once (30 s for a published one)."""
        return int(self.bundle.feature_extractor.n_samples)

    def transcribe(self, waves: Sequence[Wave]) -> list[Transcript]:
        """Decode utterances of at most one window, in one batch.

        Args:
            waves: (S,) float32 at 16 kHz each.

        Raises:
            WhisperError: an utterance is longer than the window.
        """
        self._refuse_long(waves)
        if self.draft is not None and len(waves) > 1:
            return [self.transcribe([wave])[0] for wave in waves]
        features_BMT, _ = self._features(waves, padding="max_length")
        arguments = {
            "return_timestamps": self.options.timestamps,
            "force_unique_generate_call": True,
            **({} if self.draft is None else {"assistant_model": self.draft}),
        }
        return self._generate(features_BMT, arguments)

    def transcribe_long(self, waves: Sequence[Wave]) -> list[Transcript]:
        """Decode utterances of more than one window, each window where the one before it ended.

        Args:
            waves: (S,) float32 at 16 kHz each, every one longer than the window.
        """
        if self.draft is not None:
            raise WhisperError("drafted decoding works on one window at a time; use the short form")
        options = self.options
        features_BMT, mask_BT = self._features(waves, padding="longest")
        arguments = {
            "attention_mask": mask_BT,
            "return_timestamps": True,
            "temperature": options.temperatures,
            "logprob_threshold": options.logprob_threshold,
            "compression_ratio_threshold": options.compression_ratio_threshold,
            "no_speech_threshold": options.no_speech_threshold,
            "condition_on_prev_tokens": False,
        }
        return self._generate(features_BMT, arguments)

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Let libraries and caches initialise themselves before anything is timed."""
        extractor, model = self.bundle.feature_extractor, self.bundle.model
        silence_BMT = torch.zeros(1, extractor.feature_size, extractor.nb_max_frames)
        arguments = {**self.generation_arguments(), "max_new_tokens": 1}
        model.generate(silence_BMT.to(model.device, model.dtype), **arguments)

    def generation_arguments(self) -> dict[str, Any]:
        """Language, task, beams and length, as ``generate`` takes them."""
        limit = self.bundle.model.config.max_target_positions
        new_tokens = min(self.options.max_length, limit) - self._prefix_length
        return {
            **self._language,
            "num_beams": self.options.num_beams,
            "max_new_tokens": new_tokens,
        }

    @property
    def _prefix_length(self) -> int:
        """Start, language, task and notimestamps count."""
        return 4 if self.bundle.specials.is_multilingual else 2

    def _refuse_no_room(self) -> None:
        """The published default of 256 leaves room; a user's length may not."""
        length, prefix = self.options.max_length, self._prefix_length
        if length < prefix + 2:
            problem = (
                f"max_length is {length}; it must hold the prefix of {prefix} tokens, text and an "
                f"end token: at least {prefix + 2}"
            )
            raise ConfigError("decoding", [problem])

    def _arguments_of_language(self) -> dict[str, Any]:
        specials, options = self.bundle.specials, self.options
        if not specials.is_multilingual:
            language = (
                None if options.language in ("en", "english", "English") else options.language
            )
            specials.prefix(language, options.task)
            return {}
        # Without a language it is detected; the task is checked all the same.
        specials.prefix(options.language or "en", options.task)
        language = None if options.language is None else specials.language_code(options.language)
        return {"language": language, "task": options.task}

    def _refuse_long(self, waves: Sequence[Wave]) -> None:
        longest = max(len(wave) for wave in waves)
        if longest > self.window:
            raise WhisperError(
                f"{longest / SAMPLE_RATE:.2f} s of audio do not fit the window of "
                f"{self.window / SAMPLE_RATE:g} s; segment it or use a long form"
            )

    def _features(self, waves: Sequence[Wave], padding: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-mel features (B, M, T) and the mask (B, T) of true frames."""
        found = self.bundle.feature_extractor(
            list(waves),
            sampling_rate=SAMPLE_RATE,
            return_tensors="pt",
            truncation=False,
            padding=padding,
            return_attention_mask=True,
        )
        model = self.bundle.model
        features_BMT = found.input_features.to(model.device, model.dtype)
        return features_BMT, found.attention_mask.to(model.device)

    @torch.inference_mode()
    def _generate(self, features_BMT: torch.Tensor, arguments: dict[str, Any]) -> list[Transcript]:
        model, tokenizer = self.bundle.model, self.bundle.tokenizer
        with torch.random.fork_rng(), self._first_token():
            torch.manual_seed(self.options.seed)
            begin = _now(model.device)
            ids = model.generate(features_BMT, **self.generation_arguments(), **arguments)
            seconds = _now(model.device) - begin
        texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
        return [Transcript(text.strip(), seconds / len(texts)) for text in texts]

    @contextlib.contextmanager
    def _first_token(self) -> Iterator[None]:
        """Lift the ban on a blank or an end at the beginning, if asked to."""
        config = self.bundle.model.generation_config
        before = config.begin_suppress_tokens
        if not self.options.begin_suppress:
            config.begin_suppress_tokens = None
        try:
            yield
        finally:
            config.begin_suppress_tokens = before


def _now(device: torch.device) -> float:
    """Seconds of a clock, read when the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
