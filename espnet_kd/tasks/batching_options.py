"""Options of ``kd_conf.batching``: DPHuBERT's batches, as published or without their quirks."""

from __future__ import annotations

import math
from dataclasses import dataclass

from espnet_kd.data.length_batches import LengthLimits

QUIRKS = ("repaired", "published")


@dataclass(kw_only=True)
class BatchingOptions:
    """Batches of so many seconds instead of so many utterances, cropped to their shortest one.

    Utterances of similar length come together, so little is cropped; batch_type, batch_size and the
    like are not used. An update sees seconds_per_batch x accum_grad x processes seconds of speech
    (published: 160 x 1 x 4 = 640): on one GPU write accum_grad: 4, on two 2. Every batch of an
    update has the same weight, wherever it was computed.
    """

    seconds_per_batch: float = 160.0
    """Most seconds of one batch on one process (published 160)."""

    min_seconds: float = 2.0
    """Shorter utterances are left out (published 2)."""

    max_seconds: float = 15.625
    """Longest piece of speech that is used (published 15.625)."""

    quirks: str = "repaired"
    """`repaired`: longer utterances are cropped, each epoch has its own order (of seed and epoch),
    every utterance comes once per epoch (batches are halved until each process has as many),
    training crops start at a random frame, validation is cropped to its middle in a fixed order.
    `published`: longer utterances are left out, all epochs have one order, the first batches are
    repeated to make processes equal, training and validation crops start at any sample but the
    last possible one."""

    @property
    def published(self) -> bool:
        """Whether the published quirks are kept."""
        return self.quirks == "published"

    def limits(self, sample_rate: int) -> LengthLimits:
        """The same limits in samples."""
        return LengthLimits(
            shortest=round(self.min_seconds * sample_rate),
            longest=round(self.max_seconds * sample_rate),
            per_batch=round(self.seconds_per_batch * sample_rate),
            crop_longer=not self.published,
        )

    def validate(self) -> list[str]:
        """All problems, as sentences that start with the option's name; empty if there is none."""
        problems = [
            f"{name} is {getattr(self, name)}; it must be {least}"
            for name, least in (
                ("seconds_per_batch", "positive"),
                ("min_seconds", "0 or more"),
                ("max_seconds", "positive"),
            )
            if not math.isfinite(getattr(self, name))
            or getattr(self, name) < 0
            or (least == "positive" and getattr(self, name) == 0)
        ]
        if self.quirks not in QUIRKS:
            problems.append(f"quirks is {self.quirks!r}; choose {' or '.join(QUIRKS)}")
        if self.max_seconds < self.min_seconds:
            problems.append(f"max_seconds is {self.max_seconds}, less than min_seconds; raise it")
        if self.seconds_per_batch < self.max_seconds:
            problems.append(
                f"seconds_per_batch is {self.seconds_per_batch}, less than max_seconds "
                f"{self.max_seconds}; a batch must hold the longest utterance"
            )
        return problems
