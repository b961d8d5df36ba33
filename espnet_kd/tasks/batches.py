"""From single utterances to batches: checks of the samples, cropping that keeps streams aligned.

Shapes: S samples, T frames.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt
from espnet2.train.collate_fn import CommonCollateFn
from torch import Tensor

from espnet_kd.data.audio import check_samples
from espnet_kd.errors import AudioError
from espnet_kd.tasks.options import CropOptions, DistillConfig

Streams = dict[str, npt.NDArray[Any]]

PLACES = ("random_frame", "random_sample", "middle")
"""Where a crop may start: see :class:`CropCollate`."""


def crop_rule(kd: DistillConfig, *, train: bool) -> tuple[CropOptions, str]:
    """How to crop in training or validation: the options and one of :data:`PLACES`."""
    if kd.batching is None:
        return (kd.crop if train else CropOptions()), "random_frame"
    rule = CropOptions(max_seconds=kd.batching.max_seconds, to_shortest=True)
    if kd.batching.published:
        return rule, "random_sample"
    return rule, "random_frame" if train else "middle"


def signed_codes(data: Streams) -> Streams:
    """ESPnet refuses unsigned integers, in which codes are compact; int16 holds every byte."""
    codes = data.get("codes")
    if codes is not None and codes.dtype.kind == "u":
        data["codes"] = codes.astype(np.int16)
    return data


class AudioCheck:
    """ESPnet preprocessor that refuses unusable speech, by name of the utterance.

    Args:
        min_samples: fewest samples that give one frame.
        source: where the utterances come from, for the message.
    """

    def __init__(self, min_samples: int, source: str) -> None:
        self.min_samples = min_samples
        self.source = source

    def __call__(self, uid: str, data: Streams) -> Streams:
        """Return the streams without transcripts, or raise AudioError."""
        speech = data.get("speech")
        if speech is None:
            return data
        remedy = "leave it out of wav.scp and the shape file, or write the recording again"
        if speech.ndim != 1:
            raise AudioError(
                f"utterance {uid} ({self.source}) has {speech.shape[-1]} channels, the models "
                f"take one; "
                "mix it down to mono"
            )
        if len(speech) < self.min_samples:
            raise AudioError(
                f"utterance {uid} ({self.source}) has {len(speech)} sample(s), at least "
                f"{self.min_samples} are needed; {remedy}"
            )
        check_samples(speech, uid, self.source)
        data.pop("text", None)  # transcripts may lie in the folder; nothing here reads them
        return signed_codes(data)


class CropCollate:
    """Crop (in training, on request), then pad: floats with 0, integers with -1.

    Codes are cut at the frames of the speech that is kept.

    Args:
        crop: the options.
        conv_layers: [channels, kernel, stride] of the student's convolutions.
        hop: samples per frame.
        sample_rate: samples per second.
        place: a crop starts at a ``random_frame`` (all are possible), at a ``random_sample`` (all
            but the last possible one, as DPHuBERT's published crops) or in the ``middle`` (to the
            frame).
    """

    def __init__(
        self,
        crop: CropOptions,
        conv_layers: list[list[int]],
        hop: int,
        sample_rate: int,
        place: str = "random_frame",
    ) -> None:
        self.crop = crop
        self.place = place
        self.conv_layers = conv_layers
        self.hop = hop
        self.max_samples = int(crop.max_seconds * sample_rate)
        self.pad = CommonCollateFn(0.0, -1)

    def __call__(
        self, data: Collection[tuple[str, Streams]]
    ) -> tuple[list[str], dict[str, Tensor]]:
        """(ids, tensors (B, ...) with ``<name>_lengths``)."""
        limit = max(len(streams["speech"]) for _, streams in data)
        if self.max_samples:
            limit = min(limit, self.max_samples)
        if self.crop.to_shortest:
            limit = min(limit, *(len(streams["speech"]) for _, streams in data))
        batch: tuple[list[str], dict[str, Tensor]] = self.pad(
            [(uid, self._cropped(streams, limit)) for uid, streams in data]
        )
        return batch

    def _cropped(self, streams: Streams, limit: int) -> Streams:
        speech_S = streams["speech"]
        if len(speech_S) <= limit:
            return streams
        start = self._start(len(speech_S) - limit)
        kept = {**streams, "speech": speech_S[start : start + limit]}
        if "codes" in streams:
            frame = start // self.hop
            kept["codes"] = streams["codes"][frame : frame + self._frames(limit)]
        return kept

    def _start(self, spare: int) -> int:
        """First sample of a crop that leaves out ``spare`` samples, at least 1."""
        if self.place == "middle":
            return spare // 2 // self.hop * self.hop
        # ESPnet seeds numpy's global generator per epoch and worker: a resumed run crops alike.
        if self.place == "random_sample":
            return int(np.random.randint(spare))  # noqa: NPY002
        return int(np.random.randint(spare // self.hop + 1)) * self.hop  # noqa: NPY002

    def _frames(self, samples: int) -> int:
        for _, kernel, stride in self.conv_layers:
            samples = (samples - kernel) // stride + 1
        return samples
