"""What the makers of SUPERB's layouts are given: a folder, a talker, a size and random numbers."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np

from espnet_kd.data.audio import Wave
from espnet_kd.data.talkers import Talker

SPLITS = ("train", "dev", "test")
"""Splits of the layouts that have three; speakers of each are the talker's."""


@dataclass(frozen=True)
class Extent:
    """How much a layout holds; where a talker has fewer speakers, each of them says more."""

    speakers: int
    """Speakers of the training part."""

    utterances: int
    """What each of them says."""

    heldout_speakers: int
    """Speakers of the development part, and of the test part."""

    heldout_utterances: int
    """What each of them says."""


@dataclass(frozen=True)
class LayoutJob:
    """One layout to be made."""

    root: Path
    """Folder of the layout."""

    talker: Talker
    """Who speaks."""

    extent: Extent
    """How much."""

    rng: np.random.Generator
    """The talker's; decides everything that is random."""

    def speakers(self, split: str) -> tuple[int, ...]:
        """Numbers of the speakers of ``train``, ``dev`` or ``test``."""
        count = self.extent.speakers if split == "train" else self.extent.heldout_speakers
        return self.talker.speakers[split][:count]

    def utterances(self, split: str) -> int:
        """How much each of these speakers says."""
        return self.share(split, len(self.speakers(split)))

    def share(self, split: str, speakers: float) -> int:
        """How much each of so many speakers says to make up the extent of a split."""
        extent = self.extent
        whole = extent.heldout_speakers * extent.heldout_utterances
        if split == "train":
            whole = extent.speakers * extent.utterances
        return ceil(whole / speakers)

    def long_speech(self, speaker: int, part: str, samples: int) -> Wave:
        """Say one sentence after the other, into the microphone, for at least ``samples``: (S,)."""
        pieces = [np.zeros(0, np.float32)]
        while sum(map(len, pieces)) < samples:
            before = np.zeros(int(self.rng.integers(1000, 4000)), np.float32)
            text = self.talker.grammar.sentence(self.rng)
            pieces += [before, self.talker.speak(speaker, text, part)]
        return self.talker.microphone(np.concatenate(pieces), speaker)
