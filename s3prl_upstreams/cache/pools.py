"""Speech that is read ahead, and computed in pools that are sorted by length."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from s3prl_upstreams.cache.isolated import IsolatedUpstream

POOL_SECONDS = 1200
"""Speech that is read before it is sorted by length."""


def fill_pools(waves: Iterable[Tensor], upstream: IsolatedUpstream, share: bool = True) -> bool:
    """Compute waves pool by pool, as long as there is place: others would be computed again.

    Args:
        waves: 1-D, of any lengths.
        upstream: keeps what it computes.
        share: the processes of a run are given the same waves, and compute a share each.

    Returns:
        Whether there was place for all.
    """
    pool: list[Tensor] = []
    samples = 0
    for wav in waves:
        pool.append(wav)
        samples += len(wav)
        if samples > POOL_SECONDS * 16000:
            if not upstream.fill(pool, share):
                return False
            pool, samples = [], 0
    return upstream.fill(pool, share)


def told(items: DataLoader[Any], split: str) -> Iterator[Any]:
    """Go through a loader with a bar that tells how long it will take."""
    yield from tqdm(items, f"feature cache, {split}", file=sys.stderr, dynamic_ncols=True)


def as_it_is(item: Any) -> Any:
    """Collate nothing."""
    return item


@contextmanager
def random_numbers_kept() -> Iterator[None]:
    """Leave the random numbers of a run as they were."""
    states = random.getstate(), np.random.get_state()  # noqa: NPY002 - S3PRL's own generator
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        yield
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002
