"""Cosine of the label's embedding with that of the speech, or of a second recogniser's text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch.nn import functional as F

from espnet_kd.filtering.embedders import Embedder, make_embedder
from espnet_kd.filtering.measure import Item, Measure, MeasureOptions, chosen
from espnet_kd.filtering.second_opinion import SecondOpinion, opinion_of, opinion_signature
from espnet_kd.utils.stamps import stamp_of_folder
from espnet_kd.whisper.wer_filter import Score


class Similarity(Measure):
    """SONAR's measure; any embedder with the same two sides may stand in for it."""

    name = "sonar"
    higher_is_better = True
    about = (
        "cosine of speech and label embeddings; needs the package sonar-space or --embedder DIR "
        "(a text encoder compares with --proxy_text or --proxy_model instead)"
    )

    def __init__(self, options: MeasureOptions) -> None:
        self.options = options
        self._embedders: dict[str | None, Embedder] = {}
        self._opinion: SecondOpinion | None = None

    @classmethod
    def from_options(cls, options: MeasureOptions) -> Similarity:
        """Reads ``embedder``, ``language`` and what the embedder needs."""
        return cls(options)

    def signature(self) -> dict[str, Any]:
        """See :meth:`Measure.signature`."""
        names = ("embedder", "language", "sonar_speech_encoder", "sonar_text_language")
        return {
            **super().signature(),
            **chosen(self.options, *names),
            "weights": stamp_of_folder(self.options.embedder),
            **opinion_signature(self.options),
        }

    def score(self, items: Sequence[Item]) -> list[Score]:
        """See :meth:`Measure.score`; each language has its own encoders."""
        found: dict[str, Score] = {}
        groups: dict[str | None, list[Item]] = {}
        for item in items:
            if not item.label.text.strip():
                found[item.label.id] = Score(None, "empty label")
            else:
                groups.setdefault(self.options.language or item.label.language, []).append(item)
        for language, everyone in groups.items():
            embedder = self._embedder(language)
            group = [item for item in everyone if embedder.fits(item.label.text)]
            too_long = Score(None, "label longer than the text encoder takes")
            found |= {item.label.id: too_long for item in everyone if item not in group}
            scores = self._score(embedder, group) if group else []
            found |= {item.label.id: score for item, score in zip(group, scores, strict=True)}
        return [found[item.label.id] for item in items]

    def _score(self, embedder: Embedder, items: Sequence[Item]) -> list[Score]:
        if embedder.hears:
            other_BD = embedder.embed_speech([item.wave() for item in items])
            known = list(range(len(items)))
        else:
            heard = self._heard(items)
            known = [i for i, text in enumerate(heard) if text and text.strip()]
            if known:
                other_BD = embedder.embed_texts([heard[i] or "" for i in known])
        scores = [Score(None, "no text of the second system")] * len(items)
        if known:
            label_BD = embedder.embed_texts([items[i].label.text for i in known])
            cosines = F.cosine_similarity(label_BD.float(), other_BD.float(), dim=-1).tolist()
            for i, cosine in zip(known, cosines, strict=True):
                scores[i] = Score(cosine)
        return scores

    def _embedder(self, language: str | None) -> Embedder:
        # Only SONAR has encoders by language.
        key = language if self.options.embedder == "sonar" else None
        if key not in self._embedders:
            self._embedders[key] = make_embedder(key, self.options)
        return self._embedders[key]

    def _heard(self, items: Sequence[Item]) -> list[str | None]:
        if self._opinion is None:
            self._opinion = opinion_of(self.options, f"{self.name} with a text encoder")
        return self._opinion.texts(items)
