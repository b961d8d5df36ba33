"""Codes at the teacher's frame rate, brought to the student's.

The published pair is a teacher at 50 Hz and a student at 25 Hz: student frame t predicts the codes
of teacher frames 2t and 2t+1, so that its head has twice as many codebooks.

Shapes: B batch, T frames (of teacher or student), N codebooks, M codebooks of the student's head.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from espnet_kd.errors import ConfigError
from espnet_kd.losses.checks import LossInputError, shape_text

TOLERANCE = 5
"""Frames by which codes and student may disagree: convolutions differ in what they need of a
signal's end."""


def match_frame_rate(
    codes_BTN: Tensor,
    num_frames: int,
    ratio: float = 2,
    *,
    delay: int = 0,
    tolerance: int = TOLERANCE,
    ignore_index: int = -100,
) -> Tensor:
    """Codes (B, ``num_frames``, M) for a student of another frame rate.

    Codes beyond the student's last frame are cut off, missing ones are ``ignore_index`` (published:
    they fail).

    Args:
        codes_BTN: integer codes, ``ignore_index`` after an utterance's end.
        num_frames: student frames of the batch.
        ratio: teacher frames per student frame; a whole number r, M = r N, or 1/r where the student
            is faster: then each code serves r student frames, M = N.
        delay: student frame t + delay learns what frame t would have learnt (streaming students).
        tolerance: teacher frames that may be missing, or be left over (besides r - 1).
        ignore_index: code without a target.

    Raises:
        ConfigError: neither the ratio nor its inverse is a whole number, or a negative delay.
        LossInputError: lengths disagree by more, or not of the shape (B, T, N).
    """
    per_student, repeats = _whole_ratio(ratio, delay)
    if codes_BTN.dim() != 3 or codes_BTN.is_floating_point():
        raise LossInputError(
            f"codes {shape_text(codes_BTN)}, {codes_BTN.dtype}: give integers (batch, frames, N)"
        )
    problem = length_problem(codes_BTN.shape[1], num_frames, ratio, tolerance)
    if problem is not None:
        raise LossInputError(problem)
    codes_BTN = codes_BTN.repeat_interleave(repeats, dim=1) if repeats > 1 else codes_BTN
    surplus = codes_BTN.shape[1] - num_frames * per_student
    start = delay * per_student
    # Negative padding cuts off.
    codes_BTN = F.pad(codes_BTN, (0, 0, start, -surplus - start), value=ignore_index)
    return codes_BTN.reshape(len(codes_BTN), num_frames, per_student * codes_BTN.shape[2])


def ratio_problems(ratio: float, delay: int, name: str = "ratio") -> list[str]:
    """What is wrong with a ratio of frame rates and a delay, as sentences."""
    problems = []
    whole = ratio if ratio >= 1 else 1 / ratio if ratio > 0 else 0.0
    if whole < 1 or abs(whole - round(whole)) > 1e-6:
        problems.append(
            f"{name} is {ratio}; it must be a whole number (teacher faster) or the inverse of one"
        )
    if delay < 0:
        problems.append(f"delay is {delay}; it must be at least 0")
    return problems


def length_problem(codes: int, frames: int, ratio: float, tolerance: int) -> str | None:
    """Why so many frames of codes cannot belong to so many student frames, or None.

    Args:
        codes: teacher frames.
        frames: student frames.
        ratio: see :func:`match_frame_rate`.
        tolerance: likewise.
    """
    per_student, repeats = _whole_ratio(ratio, 0)
    surplus = codes * repeats - frames * per_student
    if -tolerance * repeats <= surplus <= tolerance * repeats + per_student - 1:
        return None
    return (
        f"{codes} frames of codes for {frames} student frames at {ratio:g} per frame: more than "
        f"{tolerance} frames apart. The codes belong to another version of these utterances "
        "(speed, segments), or the ratio is wrong"
    )


def _whole_ratio(ratio: float, delay: int) -> tuple[int, int]:
    """Teacher frames per student frame, and student frames per teacher frame; one of them is 1."""
    problems = ratio_problems(ratio, delay)
    if problems:
        raise ConfigError("frame rate of codes", problems)
    return (round(ratio), 1) if ratio >= 1 else (1, round(1 / ratio))
