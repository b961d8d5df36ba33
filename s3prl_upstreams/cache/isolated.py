"""Single utterances: each is computed once, whatever batch it comes in later.

A wave is computed alone, or beside others where that changes nothing. Its batch is put together
from what is kept. S3PRL takes ``round(samples / 320)`` frames of each wave; the convolutions give
one fewer for most lengths, so that frame is one of padding, except for the longest wave of a batch,
which then has one frame fewer. Both are reproduced: for models to which padding is harmless the
frame of padding is computed, for others the last frame is repeated in its place.

Shape suffixes: N layers, B batch, T frames, D width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from s3prl_upstreams.cache.exact import CachingUpstream, Selection
from s3prl_upstreams.cache.keys import wave_key
from s3prl_upstreams.cache.padding import GROUP_SECONDS, group_waves, padding_is_harmless
from s3prl_upstreams.cache.ranks import is_mine, wait_for_all
from s3prl_upstreams.cache.shards import Entry
from s3prl_upstreams.cache.store import FeatureStore
from s3prl_upstreams.cache.tickets import TicketBook, read_ticket


class IsolatedUpstream(CachingUpstream):
    """An upstream that computes no utterance twice.

    Args:
        upstream: any S3PRL upstream, frozen.
        selection: the feature that is kept.
        store: where it is kept.
        device: where the upstream is.
    """

    mode = "isolated"

    def __init__(
        self, upstream: nn.Module, selection: Selection, store: FeatureStore, device: str = "cpu"
    ) -> None:
        super().__init__(upstream, selection, store)
        self.device = device
        self.harmless = padding_is_harmless(upstream, device)
        self.book = TicketBook()

    def features(self, wavs: Sequence[Tensor]) -> tuple[Tensor, bool]:
        """Return (N, B, T, D), and whether it is one tensor instead of a list of layers."""
        with self.tally.clock("fetching"):
            tickets = [read_ticket(wav) for wav in wavs]
            keys = [t[0] if t else wave_key(wav) for t, wav in zip(tickets, wavs, strict=True)]
            lengths = [t[1] if t else len(wav) for t, wav in zip(tickets, wavs, strict=True)]
            found = {key: self.store.get(key) for key in keys}
        missing: dict[bytes, Tensor] = {}
        for key, ticket, wav in zip(keys, tickets, wavs, strict=True):
            new = found[key] is None and key not in missing
            if new:
                missing[key] = self.book.wave(key).to(self.device) if ticket else wav
            self.tally.count(ticket[1] if ticket else len(wav), hit=not new)
        found.update(self._made(missing))
        entries = [entry for key in keys if (entry := found[key]) is not None]
        with self.tally.clock("fetching"):
            return self.assemble(entries, lengths, wavs[0].device)

    def fill(self, wavs: Sequence[Tensor], share: bool = True) -> bool:
        """Compute and keep what the store lacks of some waves.

        Args:
            wavs: 1-D waves.
            share: several processes with files in common are given the same waves and compute
                a share each; ``meet`` comes after it.

        Returns:
            Whether there was place for all of it.
        """
        with self.tally.clock("fetching"):
            again = [wav for wav in wavs if self.comes_again(len(wav))]
            missing = {
                key: wav.to(self.device)
                for wav in again
                if self._is_to_make(key := wave_key(wav), share)
            }
        self.tally.filled += sum(1 for _ in self._made(missing))
        return all(key in self.store for key in missing)

    def meet(self) -> None:
        """Wait for the other processes of a run, and find what they have made."""
        wait_for_all()
        self.store.refresh()

    def _is_to_make(self, key: bytes, share: bool) -> bool:
        alone = not share or self.store.disk is None
        return key not in self.store and (alone or is_mine(key))

    def _made(self, missing: dict[bytes, Tensor]) -> Iterator[tuple[bytes, Entry]]:
        """Compute and keep waves, batch by batch."""
        names, wavs = list(missing), list(missing.values())
        seconds = GROUP_SECONDS["cuda" if wavs and wavs[0].is_cuda else "cpu"]
        for group in group_waves([len(wav) for wav in wavs], seconds, mixed=self.harmless):
            with self.tally.clock("computing"):
                made = self.compute_group([wavs[i] for i in group])
            self.tally.computed += sum(len(wavs[i]) for i in group)
            with self.tally.clock("fetching"):
                kept = [
                    (names[index], self._kept(names[index], entry, len(wavs[index])))
                    for index, entry in zip(group, made, strict=True)
                ]
            yield from kept

    def _kept(self, key: bytes, entry: Entry, samples: int) -> Entry:
        """What a later epoch will find, rounded if it is to be."""
        return self.store.put(key, entry) if self.comes_again(samples) else entry

    def compute_group(self, wavs: list[Tensor]) -> list[Entry]:
        """Compute waves of one length, or of any where padding is harmless."""
        rate = self.selection.rate
        options: dict[str, Any] = {}
        if self.harmless:
            # One frame more than the longest wave has alone: its frame of padding.
            options["pad_to"] = max(map(len, wavs)) + rate
        with torch.inference_mode():
            states_NBTD, single = self.compute(wavs, **options)
        made = []
        for row, wav in enumerate(wavs):
            frames = min(round(len(wav) / rate), states_NBTD.size(2))
            alone = min(self._frames_alone(len(wav), states_NBTD.size(2)), frames)
            # A clone: of its group's memory a view would keep all.
            made.append(self.keep(states_NBTD[:, row, :frames].clone(), alone, single))
        return made

    def _frames_alone(self, samples: int, frames: int) -> int:
        """Frames of a wave that is its batch's longest."""
        if not self.harmless:
            return frames
        model: Any = self.upstream.model
        return int(model.frame_count(max(samples, model.min_samples)))

    def keep(self, states_NTD: Tensor, alone: int, single: bool) -> Entry:
        """Make the entry of one wave; here: all of it."""
        return Entry(states_NTD, alone, single)

    def assemble(
        self, entries: list[Entry], lengths: list[int], device: torch.device
    ) -> tuple[Tensor, bool]:
        """Put a batch together.

        Args:
            entries: of the waves.
            lengths: their samples.
            device: where the batch is wanted.
        """
        longest = max(lengths)
        first = entries[0].tensor
        whole = max(
            e.frames for e, samples in zip(entries, lengths, strict=True) if samples == longest
        )
        batch_NBTD = first.new_zeros(
            (first.size(0), len(entries), whole, first.size(-1)), dtype=torch.float32
        )
        for row, (entry, samples) in enumerate(zip(entries, lengths, strict=True)):
            taken = min(entry.tensor.size(1), whole)
            batch_NBTD[:, row, :taken] = entry.tensor[:, :taken]
            rest = min(round(samples / self.selection.rate), whole)
            if taken < rest:
                batch_NBTD[:, row, taken:rest] = entry.tensor[:, -1:]
        return batch_NBTD.to(device), entries[0].single

    def describe(self) -> str:
        """Say in a few words what the features are, for score files."""
        return f"{self.mode}, {'equal up to rounding' if self.harmless else 'comparable'}"
