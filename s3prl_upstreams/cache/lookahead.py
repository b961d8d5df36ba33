"""Means of an epoch, computed before its first step from what its batches will draw.

Computed together, recordings of about one length share batches without padding, and those that a
task draws seldom (KS draws classes evenly, two thirds of its recordings are of one) are left out
until they come. Afterwards they need not even be read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from s3prl_upstreams.cache.crops import Places
from s3prl_upstreams.cache.keys import wave_key
from s3prl_upstreams.cache.pooled import PooledUpstream
from s3prl_upstreams.cache.pools import as_it_is, fill_pools, random_numbers_kept, told
from s3prl_upstreams.cache.tickets import Item, Options, TicketDataset, make_ticket

Loader = DataLoader[Any]


class LookAhead:
    """Stands before a task's ``get_dataloader``.

    Args:
        head: the task's expert, which has its datasets as ``train_dataset`` and so on.
        get_dataloader: its own.
        upstream: keeps the means.
        places: of cuts; all of them are visited.
        most: batches that will be taken of a split; of others all are.
    """

    def __init__(
        self,
        head: Any,
        get_dataloader: Callable[..., Loader],
        upstream: PooledUpstream,
        places: Places,
        most: dict[str, int],
    ) -> None:
        self.head, self.get_dataloader = head, get_dataloader
        self.upstream, self.places, self.most = upstream, places, most
        self.full = False
        """Whether the store has no place left: what comes is then computed when it comes."""

    def __call__(self, split: str, *args: Any, **kwargs: Any) -> Loader:
        """Return a loader whose means are there, with tickets in place of recordings."""
        loader = self.loader(split, *args, **kwargs)
        tickets = isinstance(loader.dataset, TicketDataset) and not loader.dataset.complete
        if tickets and not self.full:
            with random_numbers_kept():
                coming = coming_items(loader, self.most.get(split))
                self.fill(loader, split, coming)
        return loader

    def loader(self, split: str, *args: Any, **kwargs: Any) -> Loader:
        """Return the task's loader, of tickets where its dataset can be replaced."""
        loader = self.get_dataloader(split, *args, **kwargs)
        name, dataset = f"{split}_dataset", loader.dataset
        if isinstance(dataset, TicketDataset) or getattr(self.head, name, None) is not dataset:
            return loader
        setattr(self.head, name, TicketDataset(dataset))
        return self.get_dataloader(split, *args, **kwargs)

    def fill(self, loader: Loader, split: str, items: Iterable[int], share: bool = False) -> None:
        """Compute what is missing of some items, and give tickets for it."""
        known: Any = loader.dataset
        missing = [index for index in items if index not in known.known]
        if not missing:
            return
        options = Options(known.dataset, self.places)
        numbered: DataLoader[Any] = DataLoader(
            options, None, sampler=missing, num_workers=loader.num_workers, collate_fn=as_it_is
        )
        found: dict[int, list[tuple[bytes, Item]]] = {}
        self.upstream.store.refresh()
        with torch.no_grad():
            waves = self._waves(told(numbered, split), options, found)
            self.full = not fill_pools(waves, self.upstream, share)
        if share:
            self.upstream.meet()
        self.places.only = None
        for index, forms in found.items():
            kept = all(key in self.upstream.store for key, _ in forms)
            # An empty list: cut anywhere or no place left; it is read and computed when it comes.
            known.known[index] = [item for _, item in forms] if kept else []

    def _waves(
        self, numbered: Iterable[Any], options: Options, found: dict[int, list[tuple[bytes, Item]]]
    ) -> Iterator[Tensor]:
        for index, forms in numbered:
            found[index] = []
            for form, (wav, *rest) in enumerate(forms):
                wav = torch.as_tensor(wav, dtype=torch.float32)
                key = wave_key(wav)
                found[index].append((key, (make_ticket(key, len(wav)), *rest)))
                self.upstream.book.note(key, options, index, form)
                yield wav


def coming_items(loader: Loader, most: int | None = None) -> list[int]:
    """Return the items that a loader's next ``most`` batches will have, each once, in order.

    The random numbers are to be put back afterwards: the loader will draw the same ones.
    """
    items: Any = range(len(loader.dataset))  # type: ignore[arg-type]
    # A loader, since it draws a number itself before its sampler does.
    numbers: Loader = DataLoader(items, batch_sampler=loader.batch_sampler, collate_fn=as_it_is)
    return list(dict.fromkeys(chain.from_iterable(islice(numbers, most))))
