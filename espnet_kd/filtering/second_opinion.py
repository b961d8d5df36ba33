"""What a second ASR system hears: read from a file, or decoded here and remembered."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from espnet_kd.data.audio import Wave
from espnet_kd.whisper.transcribe import SAMPLE_RATE
from espnet_kd.errors import ConfigError
from espnet_kd.evaluation.wer import read_text
from espnet_kd.filtering.measure import Item, MeasureOptions, chosen
from espnet_kd.data.record_log import RecordLog


class SecondOpinion(ABC):
    """Texts of another system."""

    @abstractmethod
    def texts(self, items: Sequence[Item]) -> list[str | None]:
        """One text per item; None where the system has none."""


class WrittenOpinion(SecondOpinion):
    """Texts of a Kaldi ``text`` file, made by any system."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._texts: dict[str, str] | None = None

    def texts(self, items: Sequence[Item]) -> list[str | None]:
        """None for utterances that the file does not name."""
        if self._texts is None:
            self._texts = read_text(self.path)
        return [self._texts.get(item.label.id) for item in items]


class HeardOpinion(SecondOpinion):
    """Texts of a model that is run here; with a cache, once per utterance.

    Args:
        folder: Whisper, or any speech recognition model of transformers.
        options: language, device; ``cache`` is the folder to remember texts in.
    """

    def __init__(self, folder: str, options: MeasureOptions) -> None:
        self.folder = folder
        self.options = options
        self._system: ASRSystem | None = None
        self._log: RecordLog | None = None
        if options.cache is not None:
            settings = {"model": str(Path(folder).resolve()), "language": options.language}
            key = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:12]
            self._log = RecordLog(options.cache / f"texts-{key}.jsonl", settings)

    def texts(self, items: Sequence[Item]) -> list[str | None]:
        """Decode what is not remembered yet."""
        known = {} if self._log is None else self._log.records
        new = [item for item in items if item.label.id not in known]
        heard: dict[str, str] = {}
        if new:
            if self._system is None:
                self._system = load_asr(self.folder, self.options)
            texts = self._system.transcribe([item.wave() for item in new])
            heard = {item.label.id: text for item, text in zip(new, texts, strict=True)}
            if self._log is not None:
                self._log.append({"id": key, "text": text} for key, text in heard.items())
        return [
            heard[item.label.id] if item.label.id in heard else known[item.label.id]["text"]
            for item in items
        ]


def opinion_of(options: MeasureOptions, measure: str) -> SecondOpinion:
    """The opinion that ``proxy_text`` or ``proxy_model`` asks for.

    Raises:
        ConfigError: neither or both are given.
    """
    options.need(measure, "proxy_text", "proxy_model")
    if options.proxy_text and options.proxy_model:
        raise ConfigError(
            f"measure {measure}", ["give --proxy_text or --proxy_model, not both"]
        )
    if options.proxy_text:
        return WrittenOpinion(options.proxy_text)
    assert options.proxy_model is not None
    return HeardOpinion(options.proxy_model, options)


def opinion_signature(options: MeasureOptions) -> dict[str, Any]:
    """For the cache of scores: the system, and a file's content."""
    found = chosen(options, "proxy_text", "proxy_model")
    if options.proxy_text and options.proxy_text.is_file():
        found["proxy_sha256"] = hashlib.sha256(options.proxy_text.read_bytes()).hexdigest()
    return found


class ASRSystem(ABC):
    """A speech recogniser for utterances of any length."""

    @abstractmethod
    def transcribe(self, waves: Sequence[Wave]) -> list[str]:
        """Texts of (S,) float32 samples at 16 kHz."""


class WhisperSystem(ASRSystem):
    """Greedy Whisper; what is longer than its window goes through the sequential long form."""

    def __init__(self, folder: str, options: MeasureOptions) -> None:
        from espnet_kd.whisper.load import load_whisper
        from espnet_kd.whisper.transcribe import DecodeOptions, Transcriber

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


class PipelineSystem(ASRSystem):
    """Any other recogniser through transformers' pipeline, one utterance at a time."""

    def __init__(self, folder: str, options: MeasureOptions) -> None:
        from transformers import AutomaticSpeechRecognitionPipeline

        from espnet_kd.filtering.pretrained import load_feature_extractor, load_tokenizer

        self._pipeline = AutomaticSpeechRecognitionPipeline(
            model=_load_recogniser(folder, options.device),
            tokenizer=load_tokenizer(folder),
            feature_extractor=load_feature_extractor(folder),
            device=torch.device(options.device),
        )

    def transcribe(self, waves: Sequence[Wave]) -> list[str]:
        """Texts as the tokenizer writes them."""
        inputs = [{"raw": wave, "sampling_rate": SAMPLE_RATE} for wave in waves]
        return [str(self._pipeline(one)["text"]).strip() for one in inputs]


def load_asr(folder: str, options: MeasureOptions) -> ASRSystem:
    """Load whatever recogniser a Hugging Face directory holds.

    Raises:
        CheckpointError: it holds none that transformers knows.
    """
    from espnet_kd.filtering.pretrained import read_model_type

    if not Path(folder).is_dir() or read_model_type(folder) == "whisper":
        return WhisperSystem(folder, options)
    return PipelineSystem(folder, options)


def _load_recogniser(folder: str, device: str) -> Any:
    from transformers import AutoModelForCTC, AutoModelForSpeechSeq2Seq
    from transformers.models.auto.modeling_auto import MODEL_FOR_CTC_MAPPING_NAMES

    from espnet_kd.filtering.pretrained import load_model, read_model_type

    is_ctc = read_model_type(folder) in MODEL_FOR_CTC_MAPPING_NAMES
    return load_model(AutoModelForCTC if is_ctc else AutoModelForSpeechSeq2Seq, folder, device=device)
