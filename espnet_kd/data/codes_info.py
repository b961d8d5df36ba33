"""What a folder of codes says of itself: ``codes.json`` beside ``codes.scp``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from espnet_kd.errors import DataDirError
from espnet_kd.utils.files import write_json
from espnet_kd.utils.model_directory import read_json
from espnet_kd.utils.options import from_mapping

CODES, EMBEDDINGS = "codes", "embeddings"
"""Kinds of extraction, and the names of their files."""

FORMAT = "espnet_kd_codes"


@dataclass(frozen=True, kw_only=True)
class FrameRule:
    """How many frames a teacher makes of a waveform: ``(samples - window) // hop + 1``.

    Strided convolutions without padding obey it exactly.
    """

    hop: int = 320
    """Samples between frames."""

    window: int = 400
    """Samples that give the first frame; with window = hop the rule is icefall's samples // hop."""

    tolerance: int = 0
    """Frames by which the teacher may differ from the rule."""

    def frames(self, samples: int) -> int:
        """Frames of so many samples."""
        return max(0, (samples - self.window) // self.hop + 1)

    @classmethod
    def of_counts(cls, counts: Mapping[int, int], hop: int) -> FrameRule:
        """The rule behind (samples -> frames) of a model that is seen from outside.

        Of several windows that explain the counts the longest is taken; where none does, the
        published one with a tolerance.
        """
        least = max(samples - frames * hop for samples, frames in counts.items()) + 1
        most = min(samples - (frames - 1) * hop for samples, frames in counts.items())
        if 0 < max(least, 1) <= most:
            return cls(hop=hop, window=most)
        rule = cls(hop=hop, window=hop)
        off = max(abs(rule.frames(samples) - frames) for samples, frames in counts.items())
        return dataclasses.replace(rule, tolerance=off)


@dataclass(frozen=True, kw_only=True)
class CodesInfo:
    """The size of codes and where they come from."""

    num_codebooks: int
    """Codes N of a frame."""

    codebook_size: int
    """Every code is below it."""

    dtype: str = "uint8"
    """NumPy type on the disk."""

    rule: FrameRule = field(default_factory=FrameRule)
    """Frames by samples."""

    sample_rate: int = 16000
    """Of the speech, in Hz."""

    utterances: int = 0
    """How many there are."""

    frames: int = 0
    """Of all utterances."""

    source: dict[str, Any] = field(default_factory=dict)
    """Teacher, layer, quantiser and options, or the manifests that they were imported from."""

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.sample_rate / self.rule.hop

    @property
    def bytes_per_hour(self) -> float:
        """Bytes of an hour of speech (8 codebooks at 50 Hz: 1.44 MB), ids and headers aside."""
        return 3600 * self.frame_rate * self.num_codebooks * _item_bytes(self.dtype)

    @property
    def hours(self) -> float:
        """Duration of all frames."""
        return self.frames / self.frame_rate / 3600

    def __str__(self) -> str:
        size = self.hours * self.bytes_per_hour
        return (
            f"{self.utterances} utterances, {self.frames} frames ({self.hours:.2f} h at "
            f"{self.frame_rate:g} Hz), {self.num_codebooks} codebooks of {self.codebook_size}: "
            f"{size / 1e6:.2f} MB, {self.bytes_per_hour / 1e6:.2f} MB per hour"
        )


def _item_bytes(dtype: str) -> int:
    import numpy as np

    return np.dtype(dtype).itemsize


def info_path(scp: str | Path) -> Path:
    """The description beside a table of codes."""
    return Path(scp).with_suffix(".json")


def write_info(scp: Path, info: CodesInfo, more: Mapping[str, Any]) -> None:
    """Write the description of the codes in ``scp``; ``more`` is for readers only."""
    values = {"format": FORMAT, **dataclasses.asdict(info), "summary": dict(more)}
    values["summary"] |= {"hours": info.hours, "bytes_per_hour": info.bytes_per_hour}
    write_json(info_path(scp), values)


def read_info(scp: str | Path) -> CodesInfo | None:
    """The description beside ``scp``; None if there is none, as with codes of others.

    Raises:
        DataDirError: it describes something else.
        CheckpointError: it is damaged.
        ConfigError: it was changed by hand.
    """
    path = info_path(scp)
    if not path.is_file():
        return None
    values = read_json(path)
    if values.pop("format", None) != FORMAT:
        raise DataDirError(f"{path} does not describe codes of a quantiser")
    values.pop("summary", None)
    return from_mapping(CodesInfo, values, subject=str(path))
