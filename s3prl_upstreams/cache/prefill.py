"""All splits of a task through the cache before its first step."""

from __future__ import annotations

import copy
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from s3prl_upstreams.cache.crops import FixedPlaces
from s3prl_upstreams.cache.isolated import IsolatedUpstream

POOL_SECONDS = 1200
"""Speech that is read before it is sorted by length."""


def prefill(
    runner: Any, downstream: Any, upstream: IsolatedUpstream, places: FixedPlaces | None
) -> None:
    """Compute what the training and evaluation splits of a run will need.

    Waves that are in the store already are passed over, so an interrupted run goes on where it
    was. Random numbers of the run are left as they were.

    Args:
        runner: S3PRL's.
        downstream: the task's expert.
        upstream: in eval mode.
        places: of cuts; all of them are visited.
    """
    settings = runner.config["runner"]
    if runner.args.mode == "train":
        first = settings.get("train_dataloader", "train")
        splits = [first, *settings["eval_dataloaders"]]
    else:
        splits = [runner.args.evaluate_split]
    with _random_numbers_kept(), torch.no_grad():
        for split in dict.fromkeys(splits):
            loader = downstream.get_dataloader(split)
            for place in range(places.count) if places and split == splits[0] else (None,):
                if places is not None:
                    places.only = place
                _visit(loader, split, upstream, runner.args.device)
    if places is not None:
        places.only = None


def single_items(loader: DataLoader[Any]) -> DataLoader[Any]:
    """Return a loader that visits each item of a dataset once, in order."""
    dataset: Any = loader.dataset
    if hasattr(dataset, "bucket_size"):  # PR and SF: windows that overlap
        dataset = copy.copy(dataset)
        dataset.bucket_size = 1
    return DataLoader(
        dataset, batch_size=1, num_workers=loader.num_workers, collate_fn=loader.collate_fn
    )


def _visit(loader: DataLoader[Any], split: str, upstream: IsolatedUpstream, device: str) -> None:
    items = single_items(loader)
    pool: list[Tensor] = []
    with tqdm(items, desc=f"feature cache, {split}", file=sys.stderr, dynamic_ncols=True) as bar:
        for wavs, *_ in bar:
            pool += [torch.as_tensor(wav, dtype=torch.float32) for wav in wavs]
            if sum(map(len, pool)) > POOL_SECONDS * 16000:
                upstream.fill(pool, device)
                pool = []
        upstream.fill(pool, device)


@contextmanager
def _random_numbers_kept() -> Iterator[None]:
    states = random.getstate(), np.random.get_state()  # noqa: NPY002 - S3PRL's own generator
    devices = range(torch.cuda.device_count())
    with torch.random.fork_rng(devices=list(devices)):
        yield
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002
