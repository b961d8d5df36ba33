"""What a backend returns for one segment, and what a backend is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor


@dataclass(frozen=True)
class Hypothesis:
    """A decoded label with the scores that cost nothing while it is decoded.

    Probabilities are those that decoding chose from: after suppressed tokens and the rules of
    timestamps were taken out. The end token counts in the means where it was decoded.
    """

    prefix: tuple[int, ...]
    """Decoder input before the text: start, language, task, perhaps notimestamps."""

    tokens: tuple[int, ...]
    """Text and timestamps, without prefix and end."""

    finished: bool
    """Whether the end token was decoded; if not, the length cap cut the label."""

    avg_logprob: float | None = None
    """Mean of ln p of the tokens, in nats."""

    mean_entropy: float | None = None
    """Mean entropy of the distributions that the tokens were chosen from, in nats."""

    logprobs: tuple[float, ...] | None = None
    """ln p of each token and of the end token."""

    entropies: tuple[float, ...] | None = None
    """Entropy before each token and before the end token."""

    def label(self, end: int) -> list[int]:
        """Prefix, text and, if it was decoded, the end token."""
        return [*self.prefix, *self.tokens, *([end] if self.finished else [])]


class Backend(Protocol):
    """An engine that runs a Whisper model. Shapes: B segments, M mel bins, F feature frames."""

    name: str

    def encode(self, features_BMF: Tensor) -> Any:
        """Run the encoder once; the result is handed to the other two methods."""
        ...

    def detect_languages(self, encoded: Any) -> list[int]:
        """The language token of each segment, which must come from a multilingual model."""
        ...

    def generate(self, encoded: Any, prefixes: Sequence[Sequence[int]]) -> list[Hypothesis]:
        """Decode after the given prefixes, one for each segment and all of one length."""
        ...


@dataclass(frozen=True, kw_only=True)
class DecodingOptions:
    """How labels are decoded; names as in the published command."""

    max_label_length: int = 256
    """Longest label in tokens, prefix and end token included (published 256)."""

    num_beams: int = 1
    """Beams; 1 = greedy (published recipe)."""

    return_timestamps: bool = False
    """Whether timestamps are decoded; the prefix then ends without notimestamps."""

    def validate(self, max_target_positions: int, prefix_length: int = 4) -> list[str]:
        """All problems, as sentences that start with the option's name; empty if there is none.

        Args:
            max_target_positions: longest decoder input of the model.
            prefix_length: tokens before the text.
        """
        problems = []
        if not prefix_length + 1 < self.max_label_length <= max_target_positions:
            problems.append(
                f"max_label_length is {self.max_label_length}; it must hold the prefix of "
                f"{prefix_length} tokens, text and an end token, and at most the model's "
                f"{max_target_positions} positions"
            )
        if self.num_beams < 1:
            problems.append(f"generation_num_beams is {self.num_beams}; it must be at least 1")
        return problems
