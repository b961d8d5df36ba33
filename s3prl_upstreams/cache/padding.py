"""Whether padding changes an upstream's features, and batches of waves that it does not change.

A model whose first convolution is normalised over time (GroupNorm: HuBERT Base, WavLM Base and
most students) sees the padding of a batch; with layer norms and masked attention it does not.

Shape suffixes: B batch, T frames, D width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import nn

from s3prl_upstreams.expert import UpstreamExpert

GROUP_SECONDS = {"cpu": 24, "cuda": 640}
"""Speech computed at once, padding included."""

_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2}


def padding_is_harmless(upstream: nn.Module, device: torch.device | str) -> bool:
    """Compare a short wave alone and beside a longer one. Only for upstreams of ours, else False.

    Others may give frames for a wave's padding that nobody can ask them for alone.
    """
    if not isinstance(upstream, UpstreamExpert):
        return False
    generator = torch.Generator().manual_seed(0)
    short, long = (0.1 * torch.randn(size, generator=generator).to(device) for size in (6400, 9600))
    with torch.inference_mode():
        (alone, beside) = (upstream(wavs)["hidden_states"] for wavs in ([short], [short, long]))
    dtype = next(upstream.parameters()).dtype
    for a_BTD, b_BTD in zip(alone, beside, strict=True):
        difference = a_BTD[0] - b_BTD[0, : a_BTD.size(1)]
        if difference.norm() > _TOLERANCE.get(dtype, 1e-4) * a_BTD.norm():
            return False
    return True


def group_waves(
    lengths: Sequence[int], seconds: float, mixed: bool, rate: int = 16000
) -> Iterator[list[int]]:
    """Cut waves into batches, longest first.

    Args:
        lengths: samples of each wave.
        seconds: padded speech in a batch, at most (one wave is always allowed).
        mixed: whether a batch may hold several lengths.
        rate: samples per second.

    Yields:
        Indexes of the waves of a batch.
    """
    group: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        longest = lengths[group[0]] if group else 0
        full = (len(group) + 1) * longest > seconds * rate
        if group and (full or (lengths[index] != longest and not mixed)):
            yield group
            group = []
        group.append(index)
    if group:
        yield group
