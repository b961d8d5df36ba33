"""An attention map and the values it weights, a few heads at a time, for CPUs without gradients.

One head's map of 10 s is 1 MB. Scores, softmax, value product and, for layers that reuse the map,
exponential of one head then happen in the cache and in one buffer; as operations on whole maps each
of them writes a new one to memory, which the system has to clear before. Same numbers.

Shapes: B utterances, T query frames, K key frames, D width, H heads, d head width, h heads of a
block.
"""

from __future__ import annotations

import torch
from torch import Tensor

from espnet_kd.encoder.eager import is_eager_cpu

BLOCK_NUMBERS = 2**18
"""Of a block of heads: 1 MB in float32."""
LEAST_NUMBERS = 2**16
"""Of one head, that is 256 frames: smaller maps stay in the cache as they are."""


def suits(x_BTD: Tensor) -> bool:
    """Whether :func:`attend` may take the place of operations on whole maps, and is faster."""
    long = x_BTD.size(1) ** 2 >= LEAST_NUMBERS
    return long and not torch.is_grad_enabled() and is_eager_cpu(x_BTD)


def attend(
    q_BHTd: Tensor,
    k_BHKd: Tensor,
    v_BHKd: Tensor,
    bias_BHTK: Tensor | None,
    exponential: bool,
    memory: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Values (B, H, T, d) weighted by softmax(q·k + bias), and that map, or e to its power.

    ``memory`` is a tensor of the map's shape that may be overwritten, or any other.
    """
    batch, heads, queries, _ = q_BHTd.shape
    keys = k_BHKd.size(2)
    map_BHTK = memory
    if map_BHTK is None or map_BHTK.shape != (batch, heads, queries, keys):
        map_BHTK = q_BHTd.new_empty(batch, heads, queries, keys)
    y_BHTd = q_BHTd.new_empty(batch, heads, queries, v_BHKd.size(3))
    step = max(1, BLOCK_NUMBERS // (queries * keys))
    for row in range(batch):
        for first in range(0, heads, step):
            block = row, slice(first, first + step)
            map_hTK = map_BHTK[block]
            torch.bmm(q_BHTd[block], k_BHKd[block].mT, out=map_hTK)
            if bias_BHTK is not None:
                map_hTK += bias_BHTK[block]
            torch.softmax(map_hTK, dim=-1, out=map_hTK)
            torch.bmm(map_hTK, v_BHKd[block], out=y_BHTd[block])
            if exponential:
                map_hTK.exp_()
    return y_BHTd, map_BHTK
