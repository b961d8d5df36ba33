"""Training curves from what trainers leave behind: TensorBoard event files or ESPnet's train.log.

A curve is a list of ``(x, value)`` points; curves are keyed ``"<split>/<quantity>"`` as in
``"valid/loss"``. TensorBoard counts x in updates, train.log in epochs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from espnet_kd.errors import KDError

Curves = dict[str, list[tuple[float, float]]]

_EPOCH = re.compile(r"(\d+)epoch results: (.*)")
_SECTION = re.compile(r"\[(\w+)\] ([^\[]*)")
_NUMBER = re.compile(r"([\w/.\-]+)=([-+]?(?:\d[\d.]*(?:e[-+]?\d+)?|nan|inf))(?=,|\s*$)")


def load_curves(source: str | Path | Mapping[str, Sequence[Sequence[float]]]) -> Curves:
    """Read the curves of one run.

    Args:
        source: a folder of TensorBoard event files (searched recursively), a ``train.log`` of
            ESPnet, or the numbers themselves.

    Raises:
        KDError: nothing is there, or nothing in it can be read as a curve.
    """
    if isinstance(source, Mapping):
        return {key: _finite((x, y) for x, y in points) for key, points in source.items()}
    path = Path(source)
    if not path.exists():
        raise KDError(f"{path}: no training curves there (TensorBoard folder or train.log)")
    curves = read_tensorboard(path) if path.is_dir() else read_train_log(path)
    if not curves:
        raise KDError(f"{path}: holds no scalar; give a TensorBoard folder or ESPnet's train.log")
    return curves


def read_tensorboard(folder: Path) -> Curves:
    """Read every scalar below ``folder``; sub-folders (``train``, ``valid``) prefix the keys."""
    # TensorBoard takes a second to import; only reports need it.
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    curves: Curves = {}
    folders = sorted({file.parent for file in folder.rglob("events.out.tfevents.*")})
    for part in folders:
        events = EventAccumulator(str(part), size_guidance={"scalars": 0})
        events.Reload()
        prefix = "" if part == folder else f"{part.relative_to(folder).as_posix()}/"
        for tag in events.Tags()["scalars"]:
            points = ((float(e.step), float(e.value)) for e in events.Scalars(tag))
            curves[prefix + tag] = _finite(points)
    return {key: points for key, points in curves.items() if points}


def read_train_log(path: Path) -> Curves:
    """Read the ``…epoch results: [train] loss=…, [valid] loss=…`` lines of ESPnet's train.log."""
    points: dict[str, list[tuple[float, float]]] = {}
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            match = _EPOCH.search(line)
            if match is None:
                continue
            epoch = float(match.group(1))
            for split, text in _SECTION.findall(match.group(2)):
                for quantity, value in _NUMBER.findall(text):
                    points.setdefault(f"{split}/{quantity}", []).append((epoch, float(value)))
    return {key: _finite(values) for key, values in points.items()}


def pick(curves: Curves, keys: Sequence[str]) -> list[tuple[float, float]]:
    """Return the first of ``keys`` that is present, or an empty list."""
    return next((curves[key] for key in keys if key in curves), [])


def _finite(points: Iterable[Sequence[float]]) -> list[tuple[float, float]]:
    # A resumed run repeats some x: the later value is the one that the run went on from.
    values = {float(x): float(y) for x, y in points}
    return [(x, y) for x, y in sorted(values.items()) if math.isfinite(x) and math.isfinite(y)]
