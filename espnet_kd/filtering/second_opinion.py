"""What a second ASR system hears: read from a file, or decoded here and remembered."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from espnet_kd.data.record_log import RecordLog
from espnet_kd.errors import ConfigError
from espnet_kd.evaluation.wer import read_text
from espnet_kd.filtering.asr_systems import ASRSystem, load_asr
from espnet_kd.filtering.measure import Item, MeasureOptions, chosen
from espnet_kd.utils.stamps import stamp_of_folder


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
        folder: what :func:`espnet_kd.filtering.asr_systems.load_asr` reads.
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
            settings["weights"] = stamp_of_folder(folder)
            self._log = RecordLog(options.cache / f"texts-{key}.jsonl", settings)

    def texts(self, items: Sequence[Item]) -> list[str | None]:
        """Decode what is not remembered yet."""
        known = self._known(items)
        new = [item for item in items if item.label.id not in known]
        heard: dict[str, str] = {}
        if new:
            if self._system is None:
                self._system = load_asr(self.folder, self.options)
            texts = self._system.transcribe([item.wave() for item in new])
            heard = {item.label.id: text for item, text in zip(new, texts, strict=True)}
            if self._log is not None:
                self._log.append(
                    {"id": item.label.id, "text": heard[item.label.id], "speech": item.speech()}
                    for item in new
                )
        return [(known | heard)[item.label.id] for item in items]

    def _known(self, items: Sequence[Item]) -> dict[str, str]:
        """Texts that were heard before, in the same speech."""
        records = {} if self._log is None else self._log.records
        pairs = ((item, records.get(item.label.id)) for item in items)
        return {
            item.label.id: record["text"]
            for item, record in pairs
            if record is not None and record.get("speech") == item.speech()
        }


def opinion_of(options: MeasureOptions, measure: str) -> SecondOpinion:
    """The opinion that ``proxy_text`` or ``proxy_model`` asks for.

    Raises:
        ConfigError: neither or both are given.
    """
    options.need(measure, "proxy_text", "proxy_model")
    if options.proxy_text and options.proxy_model:
        raise ConfigError(f"measure {measure}", ["give --proxy_text or --proxy_model, not both"])
    if options.proxy_text:
        return WrittenOpinion(options.proxy_text)
    assert options.proxy_model is not None
    return HeardOpinion(options.proxy_model, options)


def opinion_signature(options: MeasureOptions) -> dict[str, Any]:
    """For the cache of scores: the system, and a file's content."""
    found = chosen(options, "proxy_text", "proxy_model")
    if options.proxy_model:
        found["proxy_weights"] = stamp_of_folder(options.proxy_model)
    if options.proxy_text and options.proxy_text.is_file():
        found["proxy_sha256"] = hashlib.sha256(options.proxy_text.read_bytes()).hexdigest()
    return found
