"""Transducer losses by walking every path, and random batches."""

from __future__ import annotations

import torch
from torch import Tensor


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=dtype)


def paths(symbols: int, frames: int, rnnt_type: str) -> list[list[tuple[int, int, bool]]]:
    """Every path as its arcs (state, frame, writes a symbol)."""

    def after(s: int, t: int) -> list[list[tuple[int, int, bool]]]:
        if (s, t) == (symbols, frames):
            return [[]]
        if t == frames:
            return []
        found = [[(s, t, False), *rest] for rest in after(s, t + 1)]
        if s < symbols:
            then = t if rnnt_type == "regular" else t + 1
            found += [[(s, t, True), *rest] for rest in after(s + 1, then)]
        return found

    return after(0, 0)


def by_enumeration(
    logits_TUV: Tensor,
    symbols_S: list[int],
    *,
    blank: int = 0,
    rnnt_type: str = "regular",
    delay_penalty: float = 0.0,
    kept: list[list[int]] | None = None,
) -> Tensor:
    """Loss of one utterance; with ``kept`` only of paths through these states of each frame."""
    scores = logits_TUV.log_softmax(dim=-1)
    frames = len(scores)
    totals = []
    for path in paths(len(symbols_S), frames, rnnt_type):
        if kept is not None and any(s not in kept[t] for s, t, _ in path):
            continue
        total = scores.new_zeros(())
        for s, t, writes in path:
            if not writes:
                total = total + scores[t, s, blank]
                continue
            total = total + scores[t, s, symbols_S[s]] + delay_penalty * ((frames - 1) / 2 - t)
            if rnnt_type == "constrained":
                total = total + scores[t, s + 1, blank]
        totals.append(total)
    return -torch.logsumexp(torch.stack(totals), dim=0)
