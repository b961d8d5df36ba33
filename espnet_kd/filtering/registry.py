"""All measures by name; a new one is a class and a line here."""

from __future__ import annotations

from espnet_kd.errors import ConfigError
from espnet_kd.filtering.agreement import ProxyWER, StudentAgreement
from espnet_kd.filtering.language_model import LanguageModelNLL
from espnet_kd.filtering.measure import Measure, MeasureOptions
from espnet_kd.filtering.similarity import Similarity
from espnet_kd.filtering.synthetic import PESQ, MelCepstralDistance
from espnet_kd.filtering.text_shape import CompressionRatio, Repetition
from espnet_kd.filtering.token_scores import Confidence, Entropy
from espnet_kd.filtering.true_wer import TrueWER

MEASURES: dict[str, type[Measure]] = {
    cls.name: cls
    for cls in (
        TrueWER,
        ProxyWER,
        Confidence,
        Entropy,
        LanguageModelNLL,
        Similarity,
        PESQ,
        MelCepstralDistance,
        CompressionRatio,
        Repetition,
        StudentAgreement,
    )
}
"""Name to class."""


def build_measure(name: str, options: MeasureOptions) -> Measure:
    """Make a measure; its models are loaded when the first label is scored.

    Raises:
        ConfigError: no such measure, or an option that it needs is missing.
        MissingDependencyError: its package is not installed.
    """
    if name not in MEASURES:
        raise ConfigError("measure", [f"{name!r} is unknown; choose {', '.join(MEASURES)}"])
    return MEASURES[name].from_options(options)
