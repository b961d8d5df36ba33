"""The picture of a quantiser's training: held-out error, and how much codebooks overlap."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from espnet_kd.evaluation.plots import grid, save


def draw_quantizer(
    curve: Sequence[Mapping[str, Any]],
    correlations: Sequence[Sequence[float]],
    path: str | os.PathLike[str],
) -> None:
    """Draw held-out errors over the updates, the last by refinement passes, and the overlaps.

    Args:
        curve: lines with ``updates`` and ``errors`` (passes -> relative error).
        correlations: matrix of :meth:`espnet_kd.quantizer.Quantizer.correlations`.
        path: PNG file to write.
    """
    figure, axes = grid(3, width=4.2, height=3.2)
    updates = [line["updates"] for line in curve]
    for passes in curve[-1]["errors"]:
        values = [line["errors"][passes] for line in curve]
        axes[0].plot(updates, values, marker="o" if len(curve) < 20 else "", label=passes)
    axes[0].set(xlabel="update", ylabel="held-out relative error", ylim=(0, None))
    axes[0].legend(title="passes", fontsize="small", frameon=False)
    last = curve[-1]["errors"]
    axes[1].plot([int(passes) for passes in last], list(last.values()), marker="o")
    axes[1].set(xlabel="refinement passes", ylabel="final held-out relative error", ylim=(0, None))
    axes[2].imshow(correlations, vmin=0, vmax=1, cmap="viridis")
    axes[2].set(xlabel="codebook", ylabel="codebook", title="overlap of codebooks")
    axes[2].grid(False)
    save(figure, path)
