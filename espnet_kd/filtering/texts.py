"""How texts of labels are compared: the normaliser of each label's language, made once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from espnet_kd.data.pseudo_labels import PseudoLabel
from espnet_kd.errors import ConfigError
from espnet_kd.filtering.measure import MeasureOptions, chosen
from espnet_kd.utils.model_directory import read_json
from espnet_kd.whisper.normalisers import (
    NAMES,
    Normaliser,
    make_normaliser,
    published_normaliser,
    strip_specials,
)

PUBLISHED = "published"
"""Name of the normaliser with the published faults."""


class LabelTexts:
    """Normalises labels, references and what other systems heard."""

    def __init__(self, options: MeasureOptions) -> None:
        name = options.normaliser
        if name not in (*NAMES, PUBLISHED):
            choices = ", ".join((*NAMES, PUBLISHED))
            raise ConfigError("normaliser", [f"{name!r} is unknown; choose {choices}"])
        if options.wer_rule != "fixed" and name == "auto":
            name = PUBLISHED
        self.name = name
        self.options = options
        self._made: dict[str | None, Normaliser] = {}

    def normaliser(self, label: PseudoLabel) -> Normaliser:
        """The normaliser of the label's language (of the given language, as published)."""
        language = self.options.language
        if language is None and self.name != PUBLISHED:
            language = label.language
        if language not in self._made:
            self._made[language] = self._make(language)
        return self._made[language]

    def normalise(self, label: PseudoLabel, text: str) -> str:
        """Text without special tokens, normalised and stripped."""
        return self.normaliser(label)(strip_specials(text)).strip()

    def signature(self) -> dict[str, Any]:
        """For the cache of scores."""
        return {"normaliser": self.name, **chosen(self.options, "language")}

    def _make(self, language: str | None) -> Normaliser:
        if self.name == PUBLISHED:
            return published_normaliser(language, self._spelling())
        return make_normaliser(self.name, language, self._spelling())

    def _spelling(self) -> Mapping[str, str] | None:
        if self.options.tokenizer is None:
            return None
        file = Path(self.options.tokenizer) / "normalizer.json"
        return read_json(file) if file.is_file() else None
