"""Strict loading of weights: nothing is skipped silently, and a failure lists every key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from espnet_kd.errors import CheckpointError


def load_strictly(model: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Copy ``state`` into ``model``; nothing may be missing, unexpected or of another shape.

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
    model.load_state_dict(dict(state), strict=True)


def listing(title: str, names: Iterable[str]) -> str:
    """A titled, sorted list for an error message; empty if there are no names."""
    rows = sorted(names)
    return f"\n  {len(rows)} {title}:" + "".join(f"\n    {row}" for row in rows) if rows else ""
