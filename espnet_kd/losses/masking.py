"""Which frames to mask: span masking as in wav2vec 2.0 / HuBERT pre-training.

Given the same state of numpy's legacy generator, the masks are bit for bit those of fairseq
0.12.2's ``compute_mask_indices`` (and of the copy in WavLM), wherever those return. They differ on
purpose in these cases: an utterance too short for its longest span gets shorter spans (fairseq
raises; below 21 frames with the published settings), an utterance of one frame is never masked, one
frame always stays visible, and an utterance without any masked frame does not force the whole batch
down to none.

Shapes: B batch, T frames.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from espnet_kd.errors import ConfigError
from espnet_kd.losses.checks import LossInputError

SELECTIONS = ("static", "uniform", "normal", "poisson")


@dataclass(frozen=True)
class MaskConfig:
    """How many spans of frames are masked, how long they are and how they are placed."""

    mask_prob: float = 0.8
    """Share of frames to mask before thinning (published 0.8 for 960 h, 0.4 for 100 h)."""
    mask_length: int = 10
    """Span length in frames, or its mean (published 10)."""
    mask_selection: str = "uniform"
    """Span lengths: static, uniform (published; mask_other to 2 mask_length), normal, poisson."""
    mask_other: float = 0.0
    """Shortest uniform span, or the normal distribution's standard deviation (published 0)."""
    no_mask_overlap: bool = True
    """Place the longest span first and keep spans apart (published True)."""
    mask_min_space: int = 1
    """Visible frames between spans when they may not overlap (published 1)."""
    min_masks: int = 2
    """Fewest spans drawn for an utterance (published 2)."""
    equal_masks: bool = True
    """Un-mask random frames until all utterances have equally many masked ones (published True)."""

    def validate(self) -> list[str]:
        """Return all problems, an empty list if there is none."""
        problems = []
        if not 0.0 <= self.mask_prob <= 1.0:
            problems.append(f"mask_prob is {self.mask_prob}; it must lie in [0, 1]")
        if self.mask_length < 1:
            problems.append(f"mask_length is {self.mask_length}; it must be at least 1 frame")
        if self.mask_selection not in SELECTIONS:
            problems.append(
                f"mask_selection is {self.mask_selection!r}; choose one of {', '.join(SELECTIONS)}"
            )
        if self.mask_other < 0:
            problems.append(f"mask_other is {self.mask_other}; it must not be negative")
        if self.mask_selection == "uniform" and self.mask_other > 2 * self.mask_length:
            problems.append(
                f"mask_other is {self.mask_other}; uniform spans must not start above "
                f"2 mask_length = {2 * self.mask_length}"
            )
        if self.mask_min_space < 0:
            problems.append(f"mask_min_space is {self.mask_min_space}; it must not be negative")
        if self.min_masks < 0:
            problems.append(f"min_masks is {self.min_masks}; it must not be negative")
        return problems


def generate_mask(
    config: MaskConfig,
    frame_lengths: Iterable[int],
    max_frames: int,
    rng: np.random.RandomState,
) -> NDArray[np.bool_]:
    """Draw the frames to mask for one batch.

    Args:
        config: The masking options.
        frame_lengths: Valid frames of each of the B utterances; masks stay inside them.
        max_frames: T, the frames of the padded batch.
        rng: numpy's legacy generator; its state advances exactly as fairseq's would.

    Returns:
        Boolean (B, T), True = masked.

    Raises:
        ConfigError: The options are wrong.
        LossInputError: A length is below 1 or above ``max_frames``.
    """
    problems = config.validate()
    if problems:
        raise ConfigError("masking options", problems)
    lengths_B = [int(frames) for frames in frame_lengths]
    wrong = [frames for frames in lengths_B if not 1 <= frames <= max_frames]
    if wrong:
        raise LossInputError(
            f"frame lengths {wrong} are not in 1..{max_frames}; pass the lengths in frames, not "
            "samples, and filter out recordings too short for one frame"
        )
    padded = any(frames < max_frames for frames in lengths_B)
    # Without padding one draw decides the number of spans for all; with padding it goes unused.
    shared_count = _span_count(config, max_frames, rng)
    masked = []
    for frames in lengths_B:
        count = _span_count(config, frames, rng) if padded else shared_count
        masked.append(_masked_frames(config, frames, count, rng))
    # One frame stays visible: a fully masked utterance tells neither model anything.
    limits = [min(len(m), frames - 1) for m, frames in zip(masked, lengths_B, strict=True)]
    if config.equal_masks:
        limits = [min((limit for limit in limits if limit), default=0)] * len(limits)
    masked = [_thin(indices, limit, rng) for indices, limit in zip(masked, limits, strict=True)]
    mask_BT = np.zeros((len(lengths_B), max_frames), dtype=np.bool_)
    for row, indices in enumerate(masked):
        mask_BT[row, indices] = True
    return mask_BT


def _span_count(config: MaskConfig, frames: int, rng: np.random.RandomState) -> int:
    """Return the expected number of spans, rounded at random."""
    expected = config.mask_prob * frames / float(config.mask_length)
    return max(config.min_masks, int(expected + rng.random_sample()))


def _masked_frames(
    config: MaskConfig, frames: int, count: int, rng: np.random.RandomState
) -> NDArray[np.int64]:
    """Return the sorted masked frames of one utterance."""
    if count == 0 or frames < 2:
        return np.zeros(0, dtype=np.int64)
    lengths = _span_lengths(config, count, rng)
    if sum(lengths) == 0:
        lengths[0] = min(config.mask_length, frames - 1)
    if config.no_mask_overlap:
        spans = _place_apart(lengths, frames, config.mask_min_space, rng)
    else:
        spans = _place_freely(lengths, frames, rng)
    inside = {t for start, length in spans for t in range(start, min(start + length, frames))}
    return np.array(sorted(inside), dtype=np.int64)


def _span_lengths(config: MaskConfig, count: int, rng: np.random.RandomState) -> list[int]:
    """Draw the span lengths in frames."""
    mean = config.mask_length
    drawn: Any
    if config.mask_selection == "static":
        return [mean] * count
    if config.mask_selection == "uniform":
        drawn = rng.randint(int(config.mask_other), 2 * mean + 1, size=count)
    elif config.mask_selection == "poisson":
        drawn = rng.poisson(mean, size=count)
    else:
        return [max(1, round(float(x))) for x in rng.normal(mean, config.mask_other, size=count)]
    return [int(x) for x in drawn]


def _place_freely(
    lengths: list[int], frames: int, rng: np.random.RandomState
) -> list[tuple[int, int]]:
    """Return (start, length) of spans that may overlap and may run past the end."""
    starts = frames - min(lengths)
    if starts <= len(lengths):  # too few starts to draw from: allow one more than there are spans
        starts = len(lengths) + 1
    chosen = rng.choice(starts, len(lengths), replace=False)
    return [(int(start), length) for start, length in zip(chosen, lengths, strict=True)]


def _place_apart(
    lengths: list[int], frames: int, min_space: int, rng: np.random.RandomState
) -> list[tuple[int, int]]:
    """Return (start, length) of spans that keep ``min_space`` frames between each other.

    The longest span comes first; a free stretch is chosen in proportion to its size; the first span
    that fits nowhere ends the search.
    """
    if max(lengths) + min_space > frames:
        min_space = min(min_space, frames - 1)
        lengths = [min(length, frames - max(min_space, 1)) for length in lengths]
    shortest = min(lengths)
    free, spans = [(0, frames)], []
    for length in sorted(lengths, reverse=True):
        room = np.array([end - begin for begin, end in free], dtype=np.float64)
        room[room < length + min_space] = 0.0
        if not room.any():
            break
        begin, end = free.pop(rng.choice(len(free), p=room / room.sum()))
        start = int(rng.randint(begin, max(end - length, begin + 1)))
        spans.append((start, length))
        if start - begin - min_space >= shortest:
            free.append((begin, start - min_space + 1))
        if end - start - length - min_space > shortest:
            free.append((start + length + min_space, end))
    return spans


def _thin(indices: NDArray[np.int64], limit: int, rng: np.random.RandomState) -> NDArray[np.int64]:
    """Return at most ``limit`` of the frames, chosen at random; draws only if some must go."""
    if len(indices) <= limit:
        return indices
    kept: NDArray[np.int64] = rng.choice(indices, limit, replace=False)
    return kept
