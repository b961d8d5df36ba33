"""The supervised measure: WER of the label against its reference."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, cast

from espnet_kd.errors import ConfigError
from espnet_kd.filtering.measure import Item, Measure, MeasureOptions
from espnet_kd.filtering.pretrained import load_tokenizer
from espnet_kd.filtering.texts import LabelTexts
from espnet_kd.whisper.wer_filter import RULES, Rule, Score, WERFilter


class TrueWER(Measure):
    """Distil-Whisper's filter; rules and special cases in :mod:`espnet_kd.whisper.wer_filter`."""

    name = "wer"
    higher_is_better = False
    about = "WER (%) against the reference; needs references"

    def __init__(self, options: MeasureOptions) -> None:
        if options.wer_rule not in RULES:
            raise ConfigError(
                "wer_rule", [f"{options.wer_rule!r} is unknown; choose {', '.join(RULES)}"]
            )
        self.rule = cast(Rule, options.wer_rule)
        self.texts = LabelTexts(options)
        self.folder = options.tokenizer
        self._tokenizer: Any = None

    @classmethod
    def from_options(cls, options: MeasureOptions) -> TrueWER:
        """Rule, normaliser and language count."""
        return cls(options)

    @classmethod
    def truth(cls, options: MeasureOptions) -> TrueWER:
        """The measure that others are judged by: rule ``fixed``, whatever the options say."""
        return cls(dataclasses.replace(options, wer_rule="fixed"))

    def score(self, items: Sequence[Item]) -> list[Score]:
        """See :meth:`Measure.score`."""
        return [self._score(item) for item in items]

    def signature(self) -> dict[str, Any]:
        """See :meth:`Measure.signature`."""
        return {**super().signature(), "rule": self.rule, **self.texts.signature()}

    def _score(self, item: Item) -> Score:
        label = item.label
        # The published columns hold special tokens, which is what their first test looks at.
        text = label.text if self.rule == "fixed" else label.whisper_transcript
        judge = WERFilter(self.texts.normaliser(label), self.rule, self._decode)
        return judge.score(label.reference, text)

    def _decode(self, ids: list[int]) -> str:
        if self._tokenizer is None:
            if self.folder is None:
                raise ConfigError(
                    "measure wer",
                    ["labels are token ids: give --tokenizer the model whose ids they are"],
                )
            self._tokenizer = load_tokenizer(self.folder)
        return str(self._tokenizer.decode(ids, skip_special_tokens=True))
