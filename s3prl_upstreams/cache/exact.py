"""Whole batches, bit for bit; and what all kinds of caching upstreams share.

S3PRL runs the frozen upstream on every batch of every epoch. Where a batch comes again (ASR: its
buckets are cut once and only their order changes; windows of PR; all of dev and test) its features
are taken from the store. A batch is known by its samples, so the result is the same bit for bit.

Shape suffixes: N layers, B batch, T frames, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from espnet_kd.errors import KDError
from s3prl_upstreams.cache.keys import batch_key
from s3prl_upstreams.cache.layers import Layers
from s3prl_upstreams.cache.report import Tally
from s3prl_upstreams.cache.shards import Entry
from s3prl_upstreams.cache.store import FeatureStore

Features = dict[str, Any]


@dataclass(frozen=True)
class Selection:
    """What S3PRL's featurizer takes of an upstream's features."""

    name: str = "hidden_states"
    """Its ``-s``."""
    rate: int = 320
    """Samples per frame."""
    layer: int | None = None
    """Its ``-l``; None = the weighted sum of all layers."""


class CachingUpstream(nn.Module):
    """An upstream that computes nothing twice; here: no batch.

    Args:
        upstream: any S3PRL upstream, frozen.
        selection: the feature that is kept.
        store: where it is kept.
    """

    mode = "exact"

    def __init__(self, upstream: nn.Module, selection: Selection, store: FeatureStore) -> None:
        super().__init__()
        self.upstream = upstream
        self.selection = selection
        self.store = store
        self.tally = Tally()
        self.comes_again: Callable[[int], bool] = lambda samples: True
        """Whether features of so many samples are worth keeping: they may be asked for again."""

    def get_downsample_rates(self, key: str) -> int:
        """Samples per frame of the upstream."""
        rate: Callable[[str], int] = self.upstream.get_downsample_rates  # type: ignore[assignment]
        return rate(key)

    def forward(self, wavs: Sequence[Tensor]) -> Features:
        """Return the selected feature of a batch of 1-D waves.

        Raises:
            KDError: the upstream is being trained: its features change with every step.
        """
        if self.training or torch.is_grad_enabled():
            raise KDError(
                "the feature cache holds features of a frozen upstream in eval mode, and this one "
                "is in train mode or wants gradients; leave out --feature_cache, --feature_memory"
            )
        return self.give(*self.features(wavs))

    def features(self, wavs: Sequence[Tensor]) -> tuple[Tensor, bool]:
        """Return (N, B, T, D), and whether it is one tensor instead of a list of layers."""
        with self.tally.clock("fetching"):
            key = batch_key(wavs)
            entry = self.store.get(key)
        self.tally.count(sum(map(len, wavs)), hit=entry is not None)
        if entry is not None:
            return entry.tensor.to(wavs[0].device), entry.single
        with self.tally.clock("computing"):
            states_NBTD, single = self.compute(wavs)
        self.tally.computed += sum(map(len, wavs))
        if self.comes_again(sum(map(len, wavs))):
            with self.tally.clock("fetching"):
                self.store.put(key, Entry(states_NBTD, single=single))
        return states_NBTD, single

    def compute(self, wavs: Sequence[Tensor], **options: Any) -> tuple[Tensor, bool]:
        """Run the upstream; returns as :meth:`features`."""
        found = self.upstream(wavs, **options)[self.selection.name]
        states = list(found.values()) if isinstance(found, dict) else found
        if isinstance(states, Tensor):
            return states[None], True
        if len({state.shape for state in states}) != 1:
            raise KDError(
                f"{self.selection.name} has layers of different shapes, which the feature cache "
                "cannot keep: leave out --feature_cache and --feature_memory"
            )
        return torch.stack(tuple(states)), len(states) == 1

    def give(self, states_NBTD: Tensor, single: bool) -> Features:
        """Return features as the upstream does."""
        # Without a weighted sum the tensor itself goes on to the task, which may write into it.
        if single or self.selection.layer is not None:
            states_NBTD = states_NBTD.clone()
        return {self.selection.name: states_NBTD[0] if single else Layers(states_NBTD)}

    def describe(self) -> str:
        """Say in a few words what the features are, for score files."""
        return "stock"

    def say(self) -> str:
        """Say in one line what came of it."""
        tally = self.tally
        return (
            f"{self.mode}: {tally.hits} hits, {tally.misses} misses"
            f"{f', {tally.filled} filled before' * (tally.filled > 0)}, {self.store.say()}; "
            f"upstream {tally.computing:.1f} s, store {tally.fetching:.1f} s, "
            f"about {max(0.0, tally.saved):.1f} s saved"
        )
