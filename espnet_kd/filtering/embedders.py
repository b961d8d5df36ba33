"""Embeddings of speech and text in one space, from the sonar-space package or from a directory.

Shapes: B batch, D width, P pieces, S samples, T tokens.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from espnet_kd.data.audio import Wave, resample
from espnet_kd.errors import ConfigError, MissingDependencyError
from espnet_kd.filtering.measure import MeasureOptions
from espnet_kd.filtering.pretrained import (
    load_feature_extractor,
    load_model,
    load_tokenizer,
    read_model_type,
)

RATE = 16000

SONAR_LANGUAGES = {
    "ar": ("arb", "Arab"), "as": ("asm", "Beng"), "be": ("bel", "Cyrl"), "bn": ("ben", "Beng"),
    "bs": ("bos", "Latn"), "bg": ("bul", "Cyrl"), "ca": ("cat", "Latn"), "cs": ("ces", "Latn"),
    "zh": ("cmn", ""), "cy": ("cym", "Latn"), "da": ("dan", "Latn"), "de": ("deu", "Latn"),
    "en": ("eng", "Latn"), "et": ("est", "Latn"), "fi": ("fin", "Latn"), "fr": ("fra", "Latn"),
    "gu": ("guj", "Gujr"), "he": ("heb", "Hebr"), "hi": ("hin", "Deva"), "hr": ("hrv", "Latn"),
    "id": ("ind", "Latn"), "it": ("ita", "Latn"), "ja": ("jpn", "Jpan"), "kn": ("kan", "Knda"),
    "ko": ("kor", "Hang"), "lo": ("lao", "Laoo"), "lt": ("lit", "Latn"), "lv": ("lvs", "Latn"),
    "ml": ("mal", "Mlym"), "mr": ("mar", "Deva"), "mk": ("mkd", "Cyrl"), "mt": ("mlt", "Latn"),
    "ne": ("npi", "Deva"), "nl": ("nld", "Latn"), "pa": ("pan", "Guru"), "fa": ("pes", "Arab"),
    "pl": ("pol", "Latn"), "pt": ("por", "Latn"), "ro": ("ron", "Latn"), "ru": ("rus", "Cyrl"),
    "sk": ("slk", "Latn"), "sl": ("slv", "Latn"), "sd": ("snd", "Arab"), "sr": ("srp", "Cyrl"),
    "es": ("spa", "Latn"), "sv": ("swe", "Latn"), "sw": ("swh", "Latn"), "ta": ("tam", "Taml"),
    "te": ("tel", "Telu"), "tl": ("tgl", "Latn"), "th": ("tha", "Thai"), "tr": ("tur", "Latn"),
    "uk": ("ukr", "Cyrl"), "ur": ("urd", "Arab"), "uz": ("uzn", "Latn"), "vi": ("vie", "Latn"),
    "yue": ("yue", "Hant"),
}  # fmt: skip
"""Whisper's code to SONAR's language (names its speech encoder) and script."""


class Embedder(ABC):
    """Turns texts, and possibly speech, into vectors whose cosine means likeness."""

    hears: bool
    """Whether it embeds speech; else texts are compared with texts."""

    @abstractmethod
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """(B, D) of B texts."""

    def embed_speech(self, waves: Sequence[Wave]) -> Tensor:
        """(B, D) of B utterances, (S,) float32 at 16 kHz each."""
        raise NotImplementedError

    def fits(self, text: str) -> bool:
        """Whether the encoder takes a text of this length whole."""
        return True


class SonarEmbedder(Embedder):
    """SONAR's own speech and text encoders (their weights are downloaded by the package)."""

    hears = True

    def __init__(self, language: str | None, options: MeasureOptions) -> None:
        speech, self.text_language = sonar_names(language, options)
        try:
            from sonar.inference_pipelines.speech import SpeechToEmbeddingModelPipeline
            from sonar.inference_pipelines.text import TextToEmbeddingModelPipeline
        except ImportError as error:
            raise MissingDependencyError(
                "SONAR embeddings need the package sonar-space (not `sonar`) and a fairseq2 built "
                "for this torch: `uv pip install sonar-space fairseq2`; or give --embedder a "
                f"CLAP directory ({error})"
            ) from error
        device = torch.device(options.device)
        self._speech: Any = SpeechToEmbeddingModelPipeline(encoder=speech, device=device)
        self._text: Any = TextToEmbeddingModelPipeline(
            encoder="text_sonar_basic_encoder", tokenizer="text_sonar_basic_encoder", device=device
        )

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """See :meth:`Embedder.embed_texts`."""
        found: Tensor = self._text.predict(list(texts), source_lang=self.text_language)
        return found

    def embed_speech(self, waves: Sequence[Wave]) -> Tensor:
        """See :meth:`Embedder.embed_speech`."""
        tensors = [torch.from_numpy(wave_S)[None] for wave_S in waves]  # (channels, S)
        found: Tensor = self._speech.predict(tensors, batch_size=len(tensors))
        return found


class ClapEmbedder(Embedder):
    """A CLAP directory of transformers."""

    hears = True

    def __init__(self, folder: str, options: MeasureOptions) -> None:
        from transformers import ClapModel

        self._model = load_model(ClapModel, folder, device=options.device)
        self._tokenizer = load_tokenizer(folder)
        self._extractor = load_feature_extractor(folder)

    def fits(self, text: str) -> bool:
        """See :meth:`Embedder.fits`."""
        return _fits(self._tokenizer, text, self._model.config.text_config)

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """See :meth:`Embedder.embed_texts`."""
        inputs = self._tokenizer(list(texts), padding=True, return_tensors="pt")
        inputs = inputs.to(self._model.device)
        found: Tensor = self._model.get_text_features(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]
        )
        return found

    def embed_speech(self, waves: Sequence[Wave]) -> Tensor:
        """See :meth:`Embedder.embed_speech`; resampled to the model's rate.

        What is longer than the model hears at once is embedded in equal pieces, and the mean of
        their directions counts: the extractor itself would hear a random stretch of it.
        """
        rate = int(self._extractor.sampling_rate)
        pieces: list[Wave] = []
        counts: list[int] = []
        for wave_S in waves:
            heard_S = resample(wave_S, RATE, rate) if rate != RATE else wave_S
            counts.append(math.ceil(len(heard_S) / self._extractor.nb_max_samples))
            pieces += np.array_split(heard_S, counts[-1])
        directions_PD = F.normalize(self._embed_pieces(pieces, rate), dim=-1)
        return torch.stack([of_one_PD.mean(0) for of_one_PD in torch.split(directions_PD, counts)])

    @torch.inference_mode()
    def _embed_pieces(self, pieces: Sequence[Wave], rate: int) -> Tensor:
        inputs = self._extractor(list(pieces), sampling_rate=rate, return_tensors="pt")
        # No piece is longer; the extractor says so of a random one, for the sake of training.
        inputs["is_longer"] = torch.zeros_like(torch.as_tensor(inputs["is_longer"]))
        found: Tensor = self._model.get_audio_features(**inputs.to(self._model.device))
        return found


class TextEmbedder(Embedder):
    """Any text encoder directory of transformers: the mean of its last layer over the tokens."""

    hears = False

    def __init__(self, folder: str, options: MeasureOptions) -> None:
        from transformers import AutoModel

        model = load_model(AutoModel, folder, device=options.device)
        self._model = model.get_encoder() if model.config.is_encoder_decoder else model
        self._tokenizer = load_tokenizer(folder)

    def fits(self, text: str) -> bool:
        """See :meth:`Embedder.fits`."""
        return _fits(self._tokenizer, text, self._model.config)

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """See :meth:`Embedder.embed_texts`."""
        inputs = self._tokenizer(list(texts), padding=True, return_tensors="pt")
        inputs = inputs.to(self._model.device)
        states_BTD: Tensor = self._model(**inputs).last_hidden_state
        mask_BT = inputs["attention_mask"].to(states_BTD.dtype)
        sum_BD = torch.einsum("btd,bt->bd", states_BTD, mask_BT)
        mean_BD: Tensor = sum_BD / mask_BT.sum(1, keepdim=True)
        return mean_BD


def make_embedder(language: str | None, options: MeasureOptions) -> Embedder:
    """The embedder that ``--embedder`` names.

    Raises:
        MissingDependencyError: SONAR without its package.
        CheckpointError: a directory that cannot be used.
    """
    if options.embedder == "sonar":
        return SonarEmbedder(language, options)
    if read_model_type(options.embedder) == "clap":
        return ClapEmbedder(options.embedder, options)
    return TextEmbedder(options.embedder, options)


def sonar_names(language: str | None, options: MeasureOptions) -> tuple[str, str]:
    """SONAR's speech encoder and text language.

    Raises:
        ConfigError: neither the language nor the options tell them.
    """
    code, script = SONAR_LANGUAGES.get(language or "", ("", ""))
    text_code = "zho" if code == "cmn" else code
    text_script = "Hans" if code == "cmn" else script
    speech = options.sonar_speech_encoder or (code and f"sonar_speech_encoder_{code}")
    text = options.sonar_text_language or (code and f"{text_code}_{text_script}")
    if not speech or not text:
        problem = (
            f"no SONAR encoder is known for language {language!r}; give --language, or "
            "--sonar_speech_encoder and --sonar_text_language"
        )
        raise ConfigError("measure sonar", [problem])
    return speech, text


def _fits(tokenizer: Any, text: str, config: Any) -> bool:
    limits = (tokenizer.model_max_length, getattr(config, "max_position_embeddings", None))
    return bool(len(tokenizer(text).input_ids) <= min(n for n in limits if n is not None))
