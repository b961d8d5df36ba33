"""All splits of a task through the cache before its first step.

Waves that are in the store already are passed over, so an interrupted run goes on where it was.
The processes of a distributed run read all waves and compute a share each.
Random numbers of the run are left as they were.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from s3prl_upstreams.cache.crops import Places
from s3prl_upstreams.cache.isolated import IsolatedUpstream
from s3prl_upstreams.cache.lookahead import LookAhead
from s3prl_upstreams.cache.pools import fill_pools, random_numbers_kept, told
from s3prl_upstreams.cache.tickets import TicketDataset


def prefill(runner: Any, get_dataloader: Any, upstream: IsolatedUpstream, places: Places) -> None:
    """Compute what the training and evaluation splits of a run will need.

    Args:
        runner: S3PRL's.
        get_dataloader: of the task's expert; with pooled features the one that looks ahead.
        upstream: in eval mode.
        places: of cuts; all of them are visited.
    """
    settings = runner.config["runner"]
    splits = [runner.args.evaluate_split]
    if runner.args.mode == "train":
        splits = [settings.get("train_dataloader", "train"), *settings["eval_dataloaders"]]
    with random_numbers_kept(), torch.no_grad():
        for split in dict.fromkeys(splits):
            ahead = isinstance(get_dataloader, LookAhead)
            loader = get_dataloader.loader(split) if ahead else get_dataloader(split)
            if isinstance(loader.dataset, TicketDataset):
                get_dataloader.fill(loader, split, range(len(loader.dataset)), share=True)
                continue
            for place in range(max(1, places.count)):
                places.only = place
                fill_pools(_single_waves(loader, split), upstream)
            upstream.meet()
    places.only = None


def _single_waves(loader: DataLoader[Any], split: str) -> Iterator[Tensor]:
    """Visit the waves of each item of a dataset once, in order."""
    dataset: Any = loader.dataset
    if hasattr(dataset, "bucket_size"):  # PR and SF: windows that overlap
        dataset = copy.copy(dataset)
        dataset.bucket_size = 1
    workers, collate = loader.num_workers, loader.collate_fn
    single = DataLoader(dataset, batch_size=1, num_workers=workers, collate_fn=collate)
    for wavs, *_ in told(single, split):
        yield from (torch.as_tensor(wav, dtype=torch.float32) for wav in wavs)
