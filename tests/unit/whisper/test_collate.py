"""Batches: shift, padding, masks of prompts; features that fit the context."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import WhisperFeatureExtractor

from espnet_kd.errors import AudioError, ConfigError, WhisperError
from espnet_kd.whisper.collate import IGNORE_INDEX, WhisperCollator, collate_tokens
from espnet_kd.whisper.features import log_mel
from tests.unit.whisper.toy_tokens import IDS, PLAIN

END, START, PROMPT = IDS.end, IDS.start, IDS.startofprev
X = IGNORE_INDEX


def test_shift_padding_and_end() -> None:
    batch = collate_tokens([[START, 5, 6, END], [START, 7, END]], IDS)
    assert batch["decoder_input_ids"].tolist() == [[START, 5, 6], [START, 7, END]]
    assert batch["labels"].tolist() == [[5, 6, END], [7, END, X]]


def test_prompts_are_not_learnt() -> None:
    batch = collate_tokens([[PROMPT, 3, 4, *PLAIN], PLAIN], IDS)
    first, second = batch["labels"].tolist()
    assert first == [X, X, X, *PLAIN[1:]]
    assert second == [*PLAIN[1:], X, X, X]
    assert batch["decoder_input_ids"][0].tolist() == [PROMPT, 3, 4, *PLAIN[:-1]]


def test_a_start_right_at_the_front_ends_no_prompt() -> None:
    """As published; our preparation makes no such sequence."""
    batch = collate_tokens([[PROMPT, *PLAIN]], IDS)
    assert batch["labels"].tolist() == [PLAIN]


def test_longer_padding_only_adds_padding() -> None:
    short, long = (collate_tokens([PLAIN], IDS, pad_to=n) for n in (None, 20))
    length = len(PLAIN) - 1
    assert long["labels"].shape == long["decoder_input_ids"].shape == (1, 19)
    for name, fill in (("labels", X), ("decoder_input_ids", END)):
        assert torch.equal(long[name][:, :length], short[name])
        assert set(long[name][0, length + 1 :].tolist()) == {fill}


def test_labels_too_long() -> None:
    with pytest.raises(WhisperError, match="8 tokens does not fit into 7"):
        collate_tokens([PLAIN], IDS, pad_to=7)


def test_collator() -> None:
    rows: list[dict[str, Any]] = [
        {"input_features": np.full((2, 4), n, np.float32), "token_ids": PLAIN} for n in (1, 2)
    ]
    batch = WhisperCollator(IDS, pad_to=10)(rows)
    assert batch["input_features"].shape == (2, 2, 4)
    assert batch["input_features"].dtype == torch.float32
    assert batch["labels"].shape == (2, 9)
    with pytest.raises(ConfigError, match="pad_to"):
        WhisperCollator(IDS, pad_to=0)


@pytest.fixture(scope="module")
def extractor() -> Any:
    return WhisperFeatureExtractor(feature_size=80, chunk_length=1)


def test_features_are_padded_to_the_context(extractor: Any) -> None:
    waves = [np.random.default_rng(0).normal(size=n).astype(np.float32) for n in (16000, 4000)]
    features_BMF = log_mel(extractor, waves)
    assert features_BMF.shape == (2, 80, 100)
    assert features_BMF.dtype == torch.float32
    alone = log_mel(extractor, waves[1:])
    torch.testing.assert_close(features_BMF[1:], alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("samples", [0, 16001])
def test_audio_that_does_not_fit(extractor: Any, samples: int) -> None:
    wave = np.zeros(samples, np.float32)
    with pytest.raises(AudioError, match="utterance u7: .*at most 1 s"):
        log_mel(extractor, [wave], ["u7"])
    with pytest.raises(AudioError, match="number 0"):
        log_mel(extractor, [wave])
