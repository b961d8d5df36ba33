"""Speech recognisers that give a second opinion, each behind one method.

Shape suffix: S samples.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from espnet_kd.data.audio import Wave
from espnet_kd.errors import ConfigError
from espnet_kd.filtering.measure import MeasureOptions
from espnet_kd.filtering.pretrained import (
    load_feature_extractor,
    load_model,
    load_tokenizer,
    read_model_type,
)
from espnet_kd.whisper.splitting import quiet_cuts
from espnet_kd.whisper.transcribe import SAMPLE_RATE, DecodeOptions, Transcriber

LONGEST = DecodeOptions.max_length
"""Tokens of a text, prefix included; fewer where the model's own limit is lower."""

SEAMLESS_CODES = {
    "ar": "arb", "bn": "ben", "ca": "cat", "cs": "ces", "cy": "cym", "da": "dan", "de": "deu",
    "en": "eng", "es": "spa", "et": "est", "fa": "pes", "fi": "fin", "fr": "fra", "hi": "hin",
    "id": "ind", "it": "ita", "ja": "jpn", "ko": "kor", "ms": "zsm", "mt": "mlt", "nl": "nld",
    "pl": "pol", "pt": "por", "ro": "ron", "ru": "rus", "sk": "slk", "sl": "slv", "sv": "swe",
    "sw": "swh", "te": "tel", "th": "tha", "tl": "tgl", "tr": "tur", "uk": "ukr", "ur": "urd",
    "uz": "uzn", "vi": "vie", "zh": "cmn",
}  # fmt: skip
"""Whisper's codes to those of SeamlessM4T, where they are another."""


class ASRSystem(ABC):
    """A speech recogniser for utterances of any length."""

    @abstractmethod
    def transcribe(self, waves: Sequence[Wave]) -> list[str]:
        """Texts of (S,) float32 samples at 16 kHz."""


class WhisperSystem(ASRSystem):
    """Greedy Whisper; what is longer than its window goes through the sequential long form."""

    def __init__(self, folder: str, options: MeasureOptions) -> None:
        from espnet_kd.whisper.load import load_whisper

        bundle = load_whisper(folder, device=options.device)
        self._transcriber = Transcriber(bundle, DecodeOptions(language=options.language))

    def transcribe(self, waves: Sequence[Wave]) -> list[str]:
        """One batch for all that fit the window."""
        transcriber = self._transcriber
        short = [i for i, wave in enumerate(waves) if len(wave) <= transcriber.window]
        texts = [""] * len(waves)
        if short:
            found = transcriber.transcribe([waves[i] for i in short])
            for i, transcript in zip(short, found, strict=True):
                texts[i] = transcript.text
        for i in sorted(set(range(len(waves))) - set(short)):
            texts[i] = transcriber.transcribe_long([waves[i]])[0].text
        return texts


class CTranslate2System(ASRSystem):
    """Greedy Whisper through CTranslate2; longer audio than its window is cut where it is quiet."""

    def __init__(self, folder: str, options: MeasureOptions) -> None:
        from espnet_kd.whisper.ct2 import CTranslate2Backend, load_converted
        from espnet_kd.whisper.hypothesis import DecodingOptions

        self._bundle = load_converted(folder)
        longest = self._bundle.model.generation_config.max_length
        decoding = DecodingOptions(max_label_length=min(LONGEST, longest))
        self._backend = CTranslate2Backend(folder, self._bundle, decoding, device=options.device)
        self._language = options.language

    def transcribe(self, waves: Sequence[Wave]) -> list[str]:
        """One batch of all pieces."""
        most = self._bundle.feature_extractor.n_samples
        pieces = [np.split(wave_S, quiet_cuts(wave_S, most)) for wave_S in waves]
        texts = iter(self._decode([piece for parts in pieces for piece in parts]))
        return [" ".join(itertools.islice(texts, len(parts))).strip() for parts in pieces]

    def _decode(self, waves: Sequence[Wave]) -> list[str]:
        from espnet_kd.whisper.features import log_mel
        from espnet_kd.whisper.label_text import plain_text

        bundle, specials = self._bundle, self._bundle.specials
        encoded = self._backend.encode(log_mel(bundle.feature_extractor, waves))
        languages: list[str | None] = [self._language] * len(waves)
        if not specials.is_multilingual:
            languages = [None] * len(waves)
        elif self._language is None:
            codes = {token: code for code, token in specials.languages.items()}
            languages = [codes[token] for token in self._backend.detect_languages(encoded)]
        prefixes = [specials.prefix(language) for language in languages]
        found = self._backend.generate(encoded, prefixes)
        return [plain_text(hypothesis.tokens, bundle.tokenizer, specials) for hypothesis in found]


class PipelineSystem(ASRSystem):
    """Any other recogniser through transformers' pipeline, one utterance at a time."""

    def __init__(self, folder: str, options: MeasureOptions) -> None:
        from transformers import AutomaticSpeechRecognitionPipeline

        model = _load_recogniser(folder, options.device)
        wishes = target_language(model, options.language, folder)
        self._pipeline = AutomaticSpeechRecognitionPipeline(
            model=model,
            tokenizer=load_tokenizer(folder),
            feature_extractor=load_feature_extractor(folder),
            device=torch.device(options.device),
            **({"generate_kwargs": wishes} if wishes else {}),
        )

    def transcribe(self, waves: Sequence[Wave]) -> list[str]:
        """Texts as the tokenizer writes them."""
        inputs = [{"raw": wave, "sampling_rate": SAMPLE_RATE} for wave in waves]
        return [str(self._pipeline(one)["text"]).strip() for one in inputs]


def target_language(model: Any, language: str | None, folder: str) -> dict[str, str]:
    """What ``generate`` has to be told of the language: SeamlessM4T translates into one.

    Args:
        model: any model of transformers.
        language: Whisper's code, or the model's own.
        folder: for the message.

    Raises:
        ConfigError: the model needs a language that is not given, or that it does not write.
    """
    known = getattr(model.generation_config, "text_decoder_lang_to_code_id", None)
    if not known:
        return {}
    code = SEAMLESS_CODES.get(language or "", language)
    if code in known:
        return {"tgt_lang": str(code)}
    raise ConfigError(
        f"recogniser {folder}",
        [f"it needs --language, one of {', '.join(sorted(known))} (given: {language})"],
    )


def load_asr(folder: str, options: MeasureOptions) -> ASRSystem:
    """Load whatever recogniser a directory holds: a Whisper (also one converted to CTranslate2 by
    espnet_kd.bin.whisper_pseudo_label), or any CTC or sequence model of transformers.

    Raises:
        CheckpointError: it holds none that transformers knows.
    """
    from espnet_kd.whisper.ct2 import is_converted

    if is_converted(folder):
        return CTranslate2System(folder, options)
    if not Path(folder).is_dir() or read_model_type(folder) == "whisper":
        return WhisperSystem(folder, options)
    return PipelineSystem(folder, options)


def _load_recogniser(folder: str, device: str) -> Any:
    from transformers import AutoModelForCTC, AutoModelForSpeechSeq2Seq
    from transformers.models.auto.modeling_auto import MODEL_FOR_CTC_MAPPING_NAMES

    is_ctc = read_model_type(folder) in MODEL_FOR_CTC_MAPPING_NAMES
    return load_model(
        AutoModelForCTC if is_ctc else AutoModelForSpeechSeq2Seq, folder, device=device
    )
