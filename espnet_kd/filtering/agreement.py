"""Measures of agreement: with a second recogniser's text, and with a student's own choices.

Shapes: B batch, T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from espnet_kd.errors import WhisperError
from espnet_kd.filtering.measure import Item, Measure, MeasureOptions, ModelMeasure
from espnet_kd.filtering.second_opinion import SecondOpinion, opinion_of, opinion_signature
from espnet_kd.filtering.texts import LabelTexts
from espnet_kd.whisper.wer_filter import Score, word_error_percent


class ProxyWER(Measure):
    """WER of the label against a second recogniser's text, which stands in for the reference.

    Both sides are normalised. Where the other system heard nothing, each word of the label counts
    as 100 %.
    """

    name = "proxy"
    higher_is_better = False
    about = "WER (%) against a second ASR system; needs --proxy_text or --proxy_model"

    def __init__(self, opinion: SecondOpinion, options: MeasureOptions) -> None:
        self.opinion = opinion
        self.options = options
        self.texts = LabelTexts(options)

    @classmethod
    def from_options(cls, options: MeasureOptions) -> ProxyWER:
        """Needs ``proxy_text`` or ``proxy_model``."""
        return cls(opinion_of(options, cls.name), options)

    def signature(self) -> dict[str, Any]:
        """See :meth:`Measure.signature`."""
        parts = (super().signature(), opinion_signature(self.options), self.texts.signature())
        return {key: value for part in parts for key, value in part.items()}

    def score(self, items: Sequence[Item]) -> list[Score]:
        """See :meth:`Measure.score`."""
        heard = self.opinion.texts(items)
        return [self._score(item, text) for item, text in zip(items, heard, strict=True)]

    def _score(self, item: Item, heard: str | None) -> Score:
        if heard is None:
            return Score(None, "no text of the second system")
        reference = self.texts.normalise(item.label, heard)
        return Score(
            word_error_percent(reference, self.texts.normalise(item.label, item.label.text))
        )


class StudentAgreement(ModelMeasure):
    """Share of the label's tokens that a student would have chosen itself, given those before.

    One forward pass per batch, no decoding. Text and end tokens count; prefix and timestamps do
    not.
    """

    name = "agreement"
    higher_is_better = True
    about = "share of the label's tokens that a student chooses too; needs --student and audio"
    option = "student"
    _bundle: Any = None

    def score(self, items: Sequence[Item]) -> list[Score]:
        """See :meth:`Measure.score`."""
        if self._bundle is None:
            from espnet_kd.whisper.load import load_whisper

            self._bundle = load_whisper(self.folder, device=self.options.device)
        ready, waves, notes = [], [], {}
        for item in items:
            note = self._note(item)
            wave_S = None if note else item.wave()
            if wave_S is not None and len(wave_S) > self._bundle.feature_extractor.n_samples:
                note = "audio longer than the student's window"
            if note:
                notes[item.label.id] = Score(None, note)
            else:
                ready.append(item.label)
                waves.append(wave_S)
        shares = self._shares([label.token_ids for label in ready], waves) if ready else []
        found = {label.id: Score(share) for label, share in zip(ready, shares, strict=True)}
        return [(notes | found)[item.label.id] for item in items]

    def _note(self, item: Item) -> str:
        config = self._bundle.model.config
        ids = item.label.token_ids
        if len(ids) < 2:
            return "label without token_ids"
        if max(ids) >= config.vocab_size or ids[0] != self._bundle.specials.start:
            raise WhisperError(
                f"utterance {item.label.id}: its token ids are not those of {self.folder} (one "
                "model may be multilingual, the other English-only)"
            )
        return "" if len(ids) <= config.max_target_positions else "label longer than the student"

    @torch.inference_mode()
    def _shares(self, sequences: Sequence[Sequence[int]], waves: Sequence[Any]) -> list[float]:
        model, specials = self._bundle.model, self._bundle.specials
        features = self._bundle.feature_extractor(
            list(waves), sampling_rate=16000, return_tensors="pt", truncation=False
        ).input_features.to(model.device, model.dtype)
        longest = max(map(len, sequences))
        ids_BT = torch.full((len(sequences), longest), specials.end)
        for row, ids in enumerate(sequences):
            ids_BT[row, : len(ids)] = torch.tensor(ids)
        ids_BT = ids_BT.to(model.device)
        choices_BT = model(features, decoder_input_ids=ids_BT[:, :-1]).logits.argmax(-1)
        lengths_B = torch.tensor([len(ids) for ids in sequences], device=model.device)
        real_BT = torch.arange(1, longest, device=model.device)[None] < lengths_B[:, None]
        counted_BT = real_BT & (ids_BT[:, 1:] <= specials.end)
        agreed_BT = counted_BT & (choices_BT == ids_BT[:, 1:])
        shares: list[float] = (agreed_BT.sum(1) / counted_BT.sum(1).clamp_min(1)).tolist()
        return shares
