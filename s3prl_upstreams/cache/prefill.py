"""All splits of a task through the cache before its first step.

Waves that are in the store already are passed over, so an interrupted run goes on where it was.
The processes of a distributed run read all waves and compute a share each.
Random numbers of the run are left as they were.
"""

from __future__ import annotations

import copy
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

from s3prl_upstreams.cache.crops import Places
from s3prl_upstreams.cache.isolated import IsolatedUpstream
from s3prl_upstreams.cache.keys import wave_key
from s3prl_upstreams.cache.tickets import Item, Options, TicketDataset, make_ticket

POOL_SECONDS = 1200
"""Speech that is read before it is sorted by length."""


def prefill(runner: Any, downstream: Any, upstream: IsolatedUpstream, places: Places) -> None:
    """Compute what the training and evaluation splits of a run will need.

    Args:
        runner: S3PRL's.
        downstream: the task's expert; with pooled features its datasets are replaced by ones that
            need not read recordings again.
        upstream: in eval mode.
        places: of cuts; all of them are visited.
    """
    settings = runner.config["runner"]
    splits = [runner.args.evaluate_split]
    if runner.args.mode == "train":
        splits = [settings.get("train_dataloader", "train"), *settings["eval_dataloaders"]]
    with _random_numbers_kept(), torch.no_grad():
        for split in dict.fromkeys(splits):
            loader = downstream.get_dataloader(split)
            name = f"{split}_dataset"
            if upstream.mode == "pooled" and getattr(downstream, name, None) is loader.dataset:
                setattr(downstream, name, with_tickets(loader, split, upstream, places))
            else:
                for place in range(max(1, places.count)):
                    places.only = place
                    _fill(_single_waves(loader, split), upstream)
                upstream.meet()
    places.only = None


def passes(runner: Any, downstream: Any) -> float:
    """Return how often a training visits its data."""
    settings = runner.config["runner"]
    split = settings.get("train_dataloader", "train")
    with _random_numbers_kept():
        batches = len(downstream.get_dataloader(split))
    batches_used = settings["total_steps"] * settings.get("gradient_accumulate_steps", 1)
    return float(batches_used / max(1, batches))


def with_tickets(
    loader: DataLoader[Any], split: str, upstream: IsolatedUpstream, places: Places
) -> TicketDataset:
    """Compute a split and return its dataset with tickets for all that was kept."""
    known = TicketDataset(loader.dataset)
    options = Options(loader.dataset, places)
    numbered = DataLoader(options, None, num_workers=loader.num_workers, collate_fn=_as_it_is)
    found: dict[int, list[Item]] = {}

    def waves() -> Iterator[Tensor]:
        for index, forms in _told(numbered, split):
            found[index] = []
            for form, (wav, *rest) in enumerate(forms):
                wav = torch.as_tensor(wav, dtype=torch.float32)
                key = wave_key(wav)
                found[index].append((make_ticket(key, len(wav)), key, *rest))
                upstream.book.note(key, options, index, form)
                yield wav

    _fill(waves(), upstream)
    upstream.meet()
    for index, items in found.items():
        if items and all(key in upstream.store for _, key, *_ in items):
            known.known[index] = [(ticket, *rest) for ticket, _, *rest in items]
    return known


def _single_waves(loader: DataLoader[Any], split: str) -> Iterator[Tensor]:
    """Visit the waves of each item of a dataset once, in order."""
    dataset: Any = loader.dataset
    if hasattr(dataset, "bucket_size"):  # PR and SF: windows that overlap
        dataset = copy.copy(dataset)
        dataset.bucket_size = 1
    workers, collate = loader.num_workers, loader.collate_fn
    single = DataLoader(dataset, batch_size=1, num_workers=workers, collate_fn=collate)
    for wavs, *_ in _told(single, split):
        yield from (torch.as_tensor(wav, dtype=torch.float32) for wav in wavs)


def _fill(waves: Iterable[Tensor], upstream: IsolatedUpstream) -> None:
    """Compute waves in pools that are sorted by length."""
    pool: list[Tensor] = []
    samples = 0
    for wav in waves:
        pool.append(wav)
        samples += len(wav)
        if samples > POOL_SECONDS * 16000:
            upstream.fill(pool)
            pool, samples = [], 0
    upstream.fill(pool)


def _told(items: DataLoader[Any], split: str) -> Iterator[Any]:
    """Go through a loader with a bar that tells how long it will take."""
    yield from tqdm(items, f"feature cache, {split}", file=sys.stderr, dynamic_ncols=True)


def _as_it_is(item: Any) -> Any:
    return item


@contextmanager
def _random_numbers_kept() -> Iterator[None]:
    states = random.getstate(), np.random.get_state()  # noqa: NPY002 - S3PRL's own generator
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        yield
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002
