"""Strict loading of weights: nothing is skipped silently, and a failure lists every key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from espnet_kd.errors import CheckpointError


def as_weights(content: Any, source: str) -> dict[str, Tensor]:
    """``content`` of an unpickled file as names and tensors.

    Raises:
        CheckpointError: it is something else.
    """
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{source} holds a {type(content).__name__} instead of weights")
    wrong = [
        f"{name!s:.80} ({type(value).__name__})"
        for name, value in content.items()
        if not isinstance(name, str) or not isinstance(value, Tensor)
    ]
    if wrong:
        raise CheckpointError(f"{source} does not hold weights alone" + listing("others", wrong))
    return dict(content)


def check_fit(model: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Refuse weights of which any is missing, unexpected or of another shape.

    Raises:
        CheckpointError: every key at fault, by kind.
    """
    own = model.state_dict()
    missing = [name for name in own if name not in state]
    unexpected = [name for name in state if name not in own]
    shapes = [
        f"{name} {tuple(state[name].shape)}, expected {tuple(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    if missing or unexpected or shapes:
        raise CheckpointError(
            f"the weights in {source} do not fit its configuration; use the configuration that "
            "belongs to them"
            + listing("missing", missing)
            + listing("unexpected", unexpected)
            + listing("of another shape", shapes)
        )


def load_strictly(model: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Copy ``state`` into ``model`` after :func:`check_fit`."""
    check_fit(model, state, source)
    model.load_state_dict(dict(state), strict=True)


def listing(title: str, names: Iterable[str]) -> str:
    """A titled, sorted list for an error message; empty if there are no names."""
    rows = sorted(names)
    return f"\n  {len(rows)} {title}:" + "".join(f"\n    {row}" for row in rows) if rows else ""
