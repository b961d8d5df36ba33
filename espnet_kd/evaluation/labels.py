"""Names beside the marks of a scatter plot, placed where they hide least."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

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
    taken = [*marks, *_boxes_along(axis, line)]
    for index, (text, x, y) in enumerate(labels):
        others = taken[:index] + taken[index + 1 :]
        costed = [(_cost(axis, note, others), note) for note in _candidates(axis, text, x, y, size)]
        best = min(costed, key=lambda pair: pair[0])[1]
        for _, note in costed:
            if note is not best:
                note.remove()
        taken.append(best.get_window_extent())


def _square(x: float, y: float, half: float) -> Bbox:
    return Bbox.from_bounds(x - half, y - half, 2 * half, 2 * half)


def _boxes_along(axis: Axes, line: Sequence[tuple[float, float]], steps: int = 30) -> list[Bbox]:
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


def _cost(axis: Axes, note: Annotation, taken: Sequence[Bbox]) -> float:
    box = note.get_window_extent()
    overlap = sum(_area(box, other) for other in taken)
    inside = _area(box, axis.get_window_extent())
    return overlap + 2.0 * (box.width * box.height - inside)


def _area(first: Bbox, second: Bbox) -> float:
    common = Bbox.intersection(first, second)
    return 0.0 if common is None else float(common.width * common.height)
