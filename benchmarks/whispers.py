"""Whispers with random weights in the published shapes, and what a benchmark feeds them.

No tokenizer is needed: text is written as the numbers of its tokens, so that two texts are equal
only where all tokens are.

Shapes: B segments, M mel bins, F feature frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from place import Place
from torch import Tensor
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration
from transformers.models.whisper.tokenization_whisper import LANGUAGES
from transformers.utils import logging

from espnet_kd.whisper.generation_config import generation_config
from espnet_kd.whisper.load import WhisperBundle
from espnet_kd.whisper.specials import SpecialIds

logging.set_verbosity_error()  # its advice about arguments of generate would hide the table

VOCABULARY = 51865
MEL_BINS, FRAMES, MAX_TOKENS = 80, 3000, 448
SEGMENT = 30.0
"""Seconds of audio of every segment."""

SPECIALS = SpecialIds(
    start=50258,
    end=50257,
    transcribe=50359,
    translate=50358,
    startofprev=50361,
    nospeech=50362,
    notimestamps=50363,
    timestamp_begin=50364,
    languages={code: 50259 + index for index, code in enumerate(list(LANGUAGES)[:99])},
    is_multilingual=True,
)
"""Of the multilingual vocabulary before large-v3."""

START_OF_LM, _SPACE = 50360, 220
PREFIX = SPECIALS.prefix("en")

RUNS = {"cpu": 3, "cuda": 5}
"""Timed runs of decoding, which takes long."""

LABEL_LENGTHS = (100, 64, 82, 46)
"""Tokens of labels, prefix and end included: segments packed to 30 s, of which the fullest has
about 70 English words."""


@dataclass(frozen=True)
class Shape:
    """Of a published model."""

    width: int
    heads: int
    layers: int


SHAPES = {
    "tiny": Shape(384, 6, 4),
    "base": Shape(512, 8, 6),
    "small": Shape(768, 12, 12),
    "medium": Shape(1024, 16, 24),
    "large": Shape(1280, 20, 32),
}


POSITIONS = 0.2
"""Standard deviation of position embeddings for texts that vary."""


class TokenNumbers:
    """In place of a tokenizer."""

    def encode(self, _text: str, **_options: Any) -> list[int]:
        return [_SPACE]

    def convert_tokens_to_ids(self, _token: str) -> int:
        return START_OF_LM

    def batch_decode(self, ids: Any, **_options: Any) -> list[str]:
        return [" ".join(map(str, row)) for row in torch.as_tensor(ids).tolist()]


def whisper(size: str, place: Place, tokenizer: Any = None, **changes: Any) -> WhisperBundle:
    """A model in float32 on the place's device, the same for each call.

    Args:
        size: of :data:`SHAPES`.
        place: its device.
        tokenizer: a true one, where a converter asks for it.
        **changes: of the configuration.
    """
    shape = SHAPES[size]
    values = {
        "d_model": shape.width,
        "encoder_layers": shape.layers,
        "decoder_layers": shape.layers,
        "encoder_attention_heads": shape.heads,
        "decoder_attention_heads": shape.heads,
        "encoder_ffn_dim": 4 * shape.width,
        "decoder_ffn_dim": 4 * shape.width,
    }
    ids = {"bos_token_id": SPECIALS.end, "eos_token_id": SPECIALS.end, "pad_token_id": SPECIALS.end}
    config = WhisperConfig(
        vocab_size=VOCABULARY,
        num_mel_bins=MEL_BINS,
        decoder_start_token_id=SPECIALS.start,
        begin_suppress_tokens=None,
        **{**values, **ids, **changes},
    )
    torch.manual_seed(0)
    with place.home:
        model = WhisperForConditionalGeneration._from_config(config, attn_implementation="sdpa")
    tokenizer = tokenizer or TokenNumbers()
    model.generation_config = generation_config(tokenizer, SPECIALS, config)
    extractor = WhisperFeatureExtractor(feature_size=MEL_BINS)
    return WhisperBundle(model.eval(), tokenizer, extractor, SPECIALS, size)


@torch.no_grad()
def vary_text(bundle: WhisperBundle) -> None:
    """Let positions decide what is said, where random weights would repeat one token for ever."""
    bundle.model.model.decoder.embed_positions.weight.normal_(0.0, POSITIONS)


def features(batch: int, place: Place) -> Tensor:
    """(B, M, F) random numbers in the range of log-mel features."""
    generator = torch.Generator().manual_seed(0)
    return place.put(torch.rand(batch, MEL_BINS, FRAMES, generator=generator) * 2 - 1)


def labels(batch: int, lengths: Sequence[int] = LABEL_LENGTHS) -> list[list[int]]:
    """Random text between prefix and end, of the given lengths in turn."""
    generator = torch.Generator().manual_seed(0)
    rows = []
    for row in range(batch):
        text = lengths[row % len(lengths)] - len(PREFIX) - 1
        tokens = torch.randint(SPECIALS.end, (text,), generator=generator).tolist()
        rows.append([*PREFIX, *tokens, SPECIALS.end])
    return rows
