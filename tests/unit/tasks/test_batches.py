"""Checks of single utterances and cropping that keeps codes and speech together."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from espnet_kd.errors import AudioError
from espnet_kd.tasks.batches import AudioCheck, CropCollate, crop_rule
from espnet_kd.tasks.options import CropOptions, DistillConfig

CONVS = [[8, 10, 5], *[[8, 3, 2]] * 4, *[[8, 2, 2]] * 2]
CHECK = AudioCheck(400, "data/wav.scp")


def speech(samples: int) -> np.ndarray:
    return np.full(samples, 0.1, dtype=np.float32)


def test_good_speech_passes_and_transcripts_are_left_out() -> None:
    checked = CHECK("u", {"speech": speech(400), "text": "words"})
    assert list(checked) == ["speech"]
    assert CHECK("u", {"other": speech(1)}) == {"other": speech(1)}


@pytest.mark.parametrize(
    ("samples", "part"),
    [
        (speech(0), r"u7 \(data/wav.scp\) has 0 sample"),
        (speech(399), "399 sample.* at least 400"),
        (speech(800).reshape(400, 2), "2 channels"),
        (np.array([*speech(500), np.nan], dtype=np.float32), "utterance u7: .*NaN"),
        (np.array([*speech(500), np.inf], dtype=np.float32), "utterance u7: .*infinite"),
    ],
)
def test_bad_speech_is_named(samples: np.ndarray, part: str) -> None:
    with pytest.raises(AudioError, match=part):
        CHECK("u7", {"speech": samples})


def utterance(samples: int) -> dict[str, np.ndarray]:
    """Speech whose samples tell their position; codes that tell their frame."""
    frames = (samples - 400) // 320 + 1
    return {
        "speech": np.arange(samples, dtype=np.float32),
        "codes": np.arange(frames, dtype=np.int64),
    }


def collate(*sizes: int, place: str = "random_frame", **options: object) -> dict[str, torch.Tensor]:
    crop = CropCollate(CropOptions(**options), CONVS, 320, 16000, place)
    ids, batch = crop([(f"u{i}", utterance(size)) for i, size in enumerate(sizes)])
    assert ids == [f"u{i}" for i in range(len(sizes))]
    return batch


def test_padding() -> None:
    batch = collate(4000, 2000)
    assert batch["speech"].shape == (2, 4000)
    assert batch["speech_lengths"].tolist() == [4000, 2000]
    assert batch["speech"][1, 2000:].eq(0).all()
    assert batch["codes"][1, 6:].eq(-1).all()


@pytest.mark.parametrize("place", ["random_frame", "middle"])
@pytest.mark.parametrize(
    ("options", "limit"), [({"to_shortest": True}, 2000), ({"max_seconds": 0.1}, 1600)]
)
def test_codes_follow_the_speech(options: dict, limit: int, place: str) -> None:
    for _ in range(10):
        batch = collate(9000, 2000, place=place, **options)
        assert batch["speech_lengths"].tolist() == [min(limit, 9000), min(limit, 2000)]
        start = batch["speech"][0, 0] / 320
        frames = (limit - 400) // 320 + 1
        assert batch["codes_lengths"][0] == frames
        assert batch["codes"][0, :frames].tolist() == [int(start) + i for i in range(frames)]


def test_crops_repeat_with_numpys_seed() -> None:
    found = []
    for _ in range(2):
        np.random.seed(7)  # noqa: NPY002  # ESPnet seeds the global generator
        found.append(collate(90_000, 80_000, max_seconds=0.5)["speech"])
    assert torch.equal(*found)


@pytest.mark.parametrize(
    ("place", "starts"),
    [
        ("random_frame", {0, 320, 640}),  # the last possible frame too
        ("random_sample", set(range(700))),  # never sample 700, as published
        ("middle", {320}),
    ],
)
def test_where_crops_start(place: str, starts: set[int]) -> None:
    np.random.seed(0)  # noqa: NPY002  # ESPnet seeds the global generator
    found = set()
    for _ in range(100):
        items = [(f"u{i}", {"speech": utterance(2700)["speech"]}) for i in range(100)]
        items.append(("short", {"speech": np.zeros(2000, "float32")}))
        crop = CropCollate(CropOptions(to_shortest=True), CONVS, 320, 16000, place)
        found |= {int(row[0]) for row in crop(items)[1]["speech"][:-1]}
    assert found == starts


def test_what_is_cropped_how() -> None:
    def rule(train: bool, **conf: object) -> tuple[CropOptions, str]:
        return crop_rule(DistillConfig.from_dict(conf), train=train)

    asked = {"crop": {"max_seconds": 3}}
    assert rule(True, **asked) == (CropOptions(max_seconds=3.0), "random_frame")
    assert rule(False, **asked) == (CropOptions(), "random_frame")
    both = CropOptions(max_seconds=15.625, to_shortest=True)
    assert rule(True, batching={}) == (both, "random_frame")
    assert rule(False, batching={}) == (both, "middle")
    for train in (True, False):
        assert rule(train, batching={"quirks": "published"}) == (both, "random_sample")
