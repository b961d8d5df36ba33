"""Measures that labelling itself leaves behind: confidence and entropy of the teacher."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence

from espnet_kd.data.pseudo_labels import PseudoLabel
from espnet_kd.filtering.measure import Item, Measure, MeasureOptions
from espnet_kd.whisper.wer_filter import Score


class _FromLabel(Measure):
    """Reads the score off the label."""

    @classmethod
    def from_options(cls, options: MeasureOptions) -> Measure:
        """Needs no option."""
        return cls()

    def score(self, items: Sequence[Item]) -> list[Score]:
        """See :meth:`Measure.score`."""
        return [self._read(item.label) for item in items]

    @abstractmethod
    def _read(self, label: PseudoLabel) -> Score: ...


class Confidence(_FromLabel):
    """Geometric mean of the token probabilities, ``exp(mean log p)``."""

    name = "conf"
    higher_is_better = True
    about = "geometric mean probability of the label's tokens; comes with the labels"

    def _read(self, label: PseudoLabel) -> Score:
        if label.avg_logprob is None:
            return Score(None, "label without avg_logprob")
        return Score(math.exp(label.avg_logprob))


class Entropy(_FromLabel):
    """Mean entropy of the teacher's distributions, in nats."""

    name = "entropy"
    higher_is_better = False
    about = "mean entropy (nats) of the teacher over the label's tokens; comes with the labels"

    def _read(self, label: PseudoLabel) -> Score:
        if label.mean_entropy is None:
            return Score(None, "label without mean_entropy")
        return Score(label.mean_entropy)
