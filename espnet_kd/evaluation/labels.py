"""Names beside the marks of a scatter plot, placed where they hide least."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.text import Annotation

Box = tuple[float, float, float, float]
Boxes = npt.NDArray[np.float64]

# Offsets in points (right, up) and the text's alignment, best place first.
PLACES = (
    ((7, 0), "left", "center"),
    ((-7, 0), "right", "center"),
    ((0, 8), "center", "bottom"),
    ((0, -8), "center", "top"),
    ((7, 8), "left", "bottom"),
    ((7, -8), "left", "top"),
    ((-7, 8), "right", "bottom"),
    ((-7, -8), "right", "top"),
    ((10, 16), "left", "bottom"),
    ((10, -16), "left", "top"),
)


def place_labels(
    axis: Axes,
    labels: Sequence[tuple[str, float, float]],
    line: Sequence[tuple[float, float]] = (),
    size: float = 8,
) -> None:
    """Annotate points, choosing for each the place that overlaps marks, labels and line least.

    Args:
        axis: axes whose layout is final.
        labels: (text, x, y) in data coordinates.
        line: corners of a line to keep clear, in data coordinates.
        size: font size in points.
    """
    centres = [axis.transData.transform((x, y)) for _, x, y in labels]
    marks = [_square(x, y, 6) for x, y in centres]
    taken = np.array([*marks, *_boxes_along(axis, line)])
    for index, (text, x, y) in enumerate(labels):
        others = np.delete(taken, index, axis=0)
        costed = [(_cost(axis, note, others), note) for note in _candidates(axis, text, x, y, size)]
        best = min(costed, key=lambda pair: pair[0])[1]
        for _, note in costed:
            if note is not best:
                note.remove()
        taken = np.vstack([taken, best.get_window_extent().extents])


def _square(x: float, y: float, half: float) -> Box:
    return x - half, y - half, x + half, y + half


def _boxes_along(axis: Axes, line: Sequence[tuple[float, float]], steps: int = 30) -> list[Box]:
    corners = [axis.transData.transform(corner) for corner in line]
    return [
        _square(x0 + (x1 - x0) * k / steps, y0 + (y1 - y0) * k / steps, 2)
        for (x0, y0), (x1, y1) in itertools.pairwise(corners)
        for k in range(1, steps)
    ]


def _candidates(axis: Axes, text: str, x: float, y: float, size: float) -> list[Annotation]:
    return [
        axis.annotate(
            text,
            (x, y),
            xytext=offset,
            textcoords="offset points",
            ha=horizontal,
            va=vertical,
            fontsize=size,
            color="#333333",
            # The layout is final: a label must not make the axes shrink.
            in_layout=False,
        )
        for offset, horizontal, vertical in PLACES
    ]


def _cost(axis: Axes, note: Annotation, taken_N4: Boxes) -> float:
    """Area of the text that hides something, and twice the area outside of the axes."""
    box = note.get_window_extent()
    box_4 = np.array(box.extents)
    overlap = _overlap(box_4, taken_N4)
    inside = _overlap(box_4, np.array([axis.get_window_extent().extents]))
    return overlap + 2.0 * (float(box.width) * float(box.height) - inside)


def _overlap(box_4: Boxes, others_N4: Boxes) -> float:
    """Summed area that one box shares with others; boxes are left, bottom, right, top."""
    low_N2 = np.maximum(box_4[:2], others_N4[:, :2])
    high_N2 = np.minimum(box_4[2:], others_N4[:, 2:])
    return float(np.clip(high_N2 - low_N2, 0, None).prod(axis=1).sum())
