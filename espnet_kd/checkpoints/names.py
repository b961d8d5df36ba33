"""Explicit tables of weight names, read both ways; every name that they lack is reported.

A table maps templates to templates, e.g. ``encoder.layers.{i}.fc1.{p}`` to
``layers.{i}.feed_forward.intermediate.{p}``; ``{i}`` is a number, ``{p}`` weight or bias.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

from espnet_kd.errors import CheckpointError
from espnet_kd.utils.weights import listing

_PLACEHOLDERS = {"{i}": r"(?P<i>\d+)", "{j}": r"(?P<j>\d+)", "{p}": r"(?P<p>weight|bias)"}


class NameTable:
    """Foreign names on the left, ours on the right; `dropped` lists what only training needed."""

    def __init__(self, pairs: Sequence[tuple[str, str]], dropped: Sequence[str] = ()) -> None:
        self.pairs = tuple(pairs)
        self.dropped = tuple(re.compile(pattern) for pattern in dropped)
        self._forward = [(_pattern(foreign), own) for foreign, own in self.pairs]
        self._backward = [(_pattern(own), foreign) for foreign, own in self.pairs]

    def to_ours(self, state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
        """Rename foreign weights.

        Raises:
            CheckpointError: all names that are unknown or mean the same as another.
        """
        kept = {
            name: t for name, t in state.items() if not any(p.match(name) for p in self.dropped)
        }
        return _rename(kept, self._forward, source)

    def to_foreign(
        self, state: Mapping[str, Tensor], source: str = "our weights"
    ) -> dict[str, Tensor]:
        """Rename our weights; of several foreign names for one of ours the first counts."""
        return _rename(state, self._backward, source)


def _pattern(template: str) -> re.Pattern[str]:
    expression = re.escape(template)
    for placeholder, pattern in _PLACEHOLDERS.items():
        expression = expression.replace(re.escape(placeholder), pattern)
    return re.compile(expression + r"\Z")


def _rename(
    state: Mapping[str, Tensor], rules: Sequence[tuple[re.Pattern[str], str]], source: str
) -> dict[str, Tensor]:
    renamed: dict[str, Tensor] = {}
    unknown, twice = [], []
    for name, tensor in state.items():
        target = _target(name, rules)
        if target is None:
            unknown.append(name)
        elif target in renamed:
            twice.append(name)
        else:
            renamed[target] = tensor
    if unknown or twice:
        raise CheckpointError(
            f"{source} does not have the expected layout"
            + listing("weights with unknown names", unknown)
            + listing("weights that repeat another", twice)
        )
    return renamed


def _target(name: str, rules: Sequence[tuple[re.Pattern[str], str]]) -> str | None:
    for pattern, template in rules:
        match = pattern.match(name)
        if match:
            for key, value in match.groupdict().items():
                template = template.replace("{" + key + "}", value)
            return template
    return None
