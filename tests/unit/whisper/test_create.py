"""New models: repeatable weights, complete generation configurations, both kinds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from espnet_kd.whisper import load_whisper
from espnet_kd.whisper.create import create_whisper
from espnet_kd.whisper.generation_config import suppressed, upper_half_heads
from espnet_kd.whisper.specials import SpecialIds
from tests.unit.whisper import tiny

SIZES = {"encoder_layers": 1, "decoder_layers": 2, "d_model": 8, "attention_heads": 2}


def test_seed_decides_and_nothing_else_moves(tokenizer: Any) -> None:
    torch.manual_seed(0)
    first = torch.rand(1)
    torch.manual_seed(0)
    models = [create_whisper(tokenizer, **SIZES, seed=seed).model for seed in (1, 1, 2)]
    assert torch.equal(torch.rand(1), first)
    one, again, other = (model.proj_out.weight for model in models)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_generation_config(tokenizer: Any) -> None:
    config = create_whisper(tokenizer, **SIZES).model.generation_config
    assert config.lang_to_id["<|hi|>"] == 50276
    assert config.task_to_id == {"translate": 50358, "transcribe": 50359}
    assert config.no_timestamps_token_id == 50363
    assert config.prev_sot_token_id == 50361
    assert config.begin_suppress_tokens == [220, 50257]
    assert config.max_length == 448
    assert config.alignment_heads == [[1, 0], [1, 1]]


def test_suppressed_tokens_are_the_originals(tokenizer: Any, english_tokenizer: Any) -> None:
    whisper = pytest.importorskip("whisper.tokenizer", reason="openai-whisper is not installed")
    for given in (tokenizer, english_tokenizer):
        ids = SpecialIds.of(given)
        theirs = whisper.get_tokenizer(ids.is_multilingual)
        steering = [theirs.sot, theirs.transcribe, theirs.translate, theirs.sot_lm,
                    theirs.sot_prev, theirs.no_speech]  # fmt: skip
        assert suppressed(given, ids) == sorted({*theirs.non_speech_tokens, *steering})


@pytest.mark.parametrize(("layers", "first"), [(1, 0), (2, 1), (5, 2)])
def test_upper_half(layers: int, first: int) -> None:
    assert upper_half_heads(layers, 1) == [[layer, 0] for layer in range(first, layers)]


def test_english_only_model(tmp_path: Path) -> None:
    folder = tiny.tiny_whisper(
        tmp_path / "english", multilingual=False, d_model=8, max_source_positions=50
    )
    bundle = load_whisper(folder)
    assert not bundle.specials.is_multilingual
    assert bundle.model.config.vocab_size == 51864
    assert bundle.model.generation_config.is_multilingual is False
    ids = bundle.model.generate(torch.zeros(1, 80, 100), max_new_tokens=2)
    assert ids.shape[0] == 1


def test_more_mel_bins(tokenizer: Any) -> None:
    bundle = create_whisper(tokenizer, **SIZES, num_mel_bins=128, max_source_positions=100)
    assert bundle.feature_extractor.feature_size == 128
    assert bundle.feature_extractor.nb_max_frames == 200
    assert bundle.model.model.encoder.conv1.weight.shape[1] == 128
