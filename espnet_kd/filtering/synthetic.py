"""Measures that let the label be spoken and compare it with the natural speech.

Shape suffix: S samples.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from espnet_kd.data.audio import Wave
from espnet_kd.data.espeak import trim
from espnet_kd.errors import MissingDependencyError
from espnet_kd.filtering.measure import Item, Measure, MeasureOptions, chosen
from espnet_kd.filtering.speech_distance import mel_cepstral_distance
from espnet_kd.filtering.synthesiser import Synthesiser, make_synthesiser
from espnet_kd.whisper.wer_filter import Score

RATE = 16000


class _Synthetic(Measure):
    def __init__(self, synthesiser: Synthesiser, options: MeasureOptions) -> None:
        self.synthesiser = synthesiser
        self.options = options

    @classmethod
    def from_options(cls, options: MeasureOptions) -> Measure:
        """Reads ``tts_voice``, ``tts_wav_scp`` and ``language``."""
        return cls(make_synthesiser(options), options)

    def signature(self) -> dict[str, Any]:
        """See :meth:`Measure.signature`."""
        names = ("tts_voice", "tts_wav_scp", "language")
        return {**super().signature(), **chosen(self.options, *names)}

    def score(self, items: Sequence[Item]) -> list[Score]:
        """See :meth:`Measure.score`."""
        scores = [Score(None, "empty label")] * len(items)
        ready: dict[int, Wave] = {}
        for index, item in enumerate(items):
            if item.label.text.strip():
                ready[index] = trim(item.wave())
                scores[index] = Score(None, "silent audio")
        ready = {index: natural_S for index, natural_S in ready.items() if len(natural_S)}
        if ready:
            lengths = [len(natural_S) / RATE for natural_S in ready.values()]
            spoken = self.synthesiser.say([items[index] for index in ready], lengths)
            for (index, natural_S), spoken_S in zip(ready.items(), spoken, strict=True):
                scores[index] = self._judge(natural_S, spoken_S)
        return scores

    def _judge(self, natural_S: Wave, spoken_S: Wave | None) -> Score:
        if spoken_S is None or not len(spoken_S):
            return Score(None, "the synthesiser cannot say the label")
        return self._compare(natural_S, spoken_S)

    @abstractmethod
    def _compare(self, natural_S: Wave, spoken_S: Wave) -> Score: ...


class PESQ(_Synthetic):
    """Wide-band PESQ (ITU-T P.862.2) of the spoken label as a "degraded" form of the speech.

    Both start with their speech; the shorter one is padded. Source: spec whisper.md 7 (the
    synthesiser there is neural, so values are not comparable).
    """

    name = "pesq"
    higher_is_better = True
    about = "PESQ of the label as spoken by a synthesiser; needs the package pesq and audio"

    def __init__(self, synthesiser: Synthesiser, options: MeasureOptions) -> None:
        super().__init__(synthesiser, options)
        try:
            import pesq
        except ImportError as error:
            raise MissingDependencyError(
                "measure pesq needs the package pesq (it is compiled on installation: a C compiler "
                "must be there): `uv pip install pesq`; measure mcd needs nothing more"
            ) from error
        self._pesq: Any = pesq

    def _compare(self, natural_S: Wave, spoken_S: Wave) -> Score:
        length = max(len(natural_S), len(spoken_S), RATE // 2)
        pair = [np.pad(wave_S, (0, length - len(wave_S))) for wave_S in (natural_S, spoken_S)]
        try:
            return Score(float(self._pesq.pesq(RATE, pair[0], pair[1], "wb")))
        except (self._pesq.PesqError, ValueError) as error:
            return Score(None, f"pesq: {error!s:.80}")


class MelCepstralDistance(_Synthetic):
    """See :func:`espnet_kd.filtering.speech_distance.mel_cepstral_distance`."""

    name = "mcd"
    higher_is_better = False
    about = "mel-cepstral distance (dB) of the label as spoken by a synthesiser; needs audio"

    def _compare(self, natural_S: Wave, spoken_S: Wave) -> Score:
        distance = mel_cepstral_distance(natural_S, spoken_S)
        return Score(distance, "" if distance is not None else "too short to compare")
