"""All label tokens of an update count alike, whatever micro-batch and process they are in.

ESPnet averages the micro-batches of an accumulation, so that a token of a short one counts more.
This iterator looks ahead over the micro-batches of each update and gives every one its factor::

    factor(m) = accum_grad * tokens(m) / tokens(update)

where tokens are counted over all processes. Times the mean over the tokens of the micro-batch
(which ESPnet weights by tokens over processes) the update is then the mean over all its tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import torch

from espnet_kd.whisper.collate import IGNORE_INDEX


class TokenAverage:
    """Iterate over (ids, batch) and add ``loss_scale``, a scalar, to each batch.

    Args:
        batches: with ``labels``; all processes have equally many.
        accum_grad: micro-batches per update.
        device: where the processes exchange their counts.
    """

    def __init__(self, batches: Iterable[Any], accum_grad: int, device: torch.device) -> None:
        self.batches = batches
        self.accum_grad = accum_grad
        self.device = device

    def __len__(self) -> int:
        # A stream raises TypeError, as ESPnet expects.
        return len(self.batches)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        iterator = iter(self.batches)
        if self.accum_grad == 1:  # the factor would be 1
            yield from iterator
            return
        while group := list(islice(iterator, self.accum_grad)):
            counts = [int((batch["labels"] != IGNORE_INDEX).sum()) for _, batch in group]
            scales = len(group) * self._over_all_processes(counts)
            for (ids, batch), scale in zip(group, scales, strict=True):
                batch["loss_scale"] = scale
                yield ids, batch

    def _over_all_processes(self, counts: list[int]) -> torch.Tensor:
        """Share of each micro-batch in the tokens of the update."""
        tokens = torch.tensor(counts, device=self.device)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(tokens)
        return (tokens / tokens.sum().clamp(min=1)).cpu()
