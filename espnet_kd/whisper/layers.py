"""Which teacher layers a shrunk Whisper keeps.

Rule of Distil-Whisper (arXiv 2311.00430; spec whisper.md 1.1): as far apart as possible, first and
last always among them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from espnet_kd.errors import ConfigError


def spaced_layers(teacher_layers: int, student_layers: int) -> list[int]:
    """``student_layers`` numbers, evenly spaced over ``teacher_layers``; one layer is the last.

    The points are truncated as ``numpy.linspace`` does: integer arithmetic gives other numbers for
    a few pairs (31 to 23 keeps layer 14 where i * 30 // 22 says 15).

    Raises:
        ConfigError: fewer than 1 or more than ``teacher_layers``.
    """
    if not 1 <= student_layers <= teacher_layers:
        raise ConfigError("layers", [_not_in_range(student_layers, teacher_layers)])
    chosen: list[int] = np.linspace(0, teacher_layers - 1, student_layers, dtype=int).tolist()
    chosen[-1] = teacher_layers - 1
    return chosen


def select_layers(
    teacher_layers: int,
    student_layers: int | None = None,
    numbers: Sequence[int] | None = None,
    *,
    compat: bool = False,
) -> list[int]:
    """Teacher layer of each student layer, of the encoder or of the decoder.

    Args:
        teacher_layers: N.
        student_layers: M; None keeps all, or as many as there are ``numbers``.
        numbers: explicit teacher layers in any order; negative ones count from the end, duplicates
            are allowed.
        compat: read ``numbers`` as the original does, to repeat an old run: negative and too large
            numbers, and the earlier of two equal ones, are replaced by the student layer's own
            number.

    Raises:
        ConfigError: M below 1 or above N, a number out of range, or not M numbers.
    """
    if numbers is None:
        wanted = teacher_layers if student_layers is None else student_layers
        return spaced_layers(teacher_layers, wanted)
    count = len(numbers)
    problems = []
    if student_layers is not None and student_layers != count:
        problems.append(f"{count} layer(s) are listed for a student of {student_layers}")
    if not 1 <= count <= teacher_layers:
        problems.append(_not_in_range(count, teacher_layers))
    outside = [number for number in numbers if not -teacher_layers <= number < teacher_layers]
    if outside and not compat:
        problems.append(
            f"layer(s) {', '.join(map(str, outside))} do not exist: the teacher has layers 0 to "
            f"{teacher_layers - 1} (or -{teacher_layers} to -1)"
        )
    if problems:
        raise ConfigError("layers", problems)
    return (
        _as_published(numbers, teacher_layers) if compat else [n % teacher_layers for n in numbers]
    )


def _as_published(numbers: Sequence[int], teacher_layers: int) -> list[int]:
    """Later of equal numbers win, and what is no layer leaves the slot to its own number."""
    slots = {number: slot for slot, number in enumerate(numbers)}
    chosen = list(range(len(numbers)))
    for number, slot in slots.items():
        if 0 <= number < teacher_layers:
            chosen[slot] = number
    return chosen


def _not_in_range(student_layers: int, teacher_layers: int) -> str:
    return (
        f"{student_layers} layer(s) are asked for; a student keeps at least 1 and at most the "
        f"{teacher_layers} of its teacher"
    )
