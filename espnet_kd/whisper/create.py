"""A new Whisper with random weights, complete with all that belongs to it."""

from __future__ import annotations

from typing import Any

import torch

from espnet_kd.whisper.config import POSITIONS_PER_SECOND
from espnet_kd.whisper.generation_config import generation_config
from espnet_kd.whisper.load import WhisperBundle
from espnet_kd.whisper.specials import SpecialIds
from espnet_kd.whisper.tokenizer import build_tokenizer


def create_whisper(
    tokenizer: Any = "multilingual",
    *,
    encoder_layers: int = 4,
    decoder_layers: int = 4,
    d_model: int = 384,
    attention_heads: int = 6,
    ffn_dim: int | None = None,
    num_mel_bins: int = 80,
    max_source_positions: int = 1500,
    max_target_positions: int = 448,
    seed: int = 0,
    name: str = "whisper",
    attn_implementation: str = "sdpa",
    **changes: Any,
) -> WhisperBundle:
    """Make a model to train from scratch; the defaults are those of whisper-tiny.

    Args:
        tokenizer: a ``WhisperTokenizerFast``, or a kind for :func:`build_tokenizer`.
        encoder_layers: number of encoder layers.
        decoder_layers: number of decoder layers.
        d_model: width.
        attention_heads: of encoder and decoder layers.
        ffn_dim: feed-forward width; by default four times ``d_model``.
        num_mel_bins: 80, or 128 as large-v3 has.
        max_source_positions: encoder positions, 50 per second of audio, whole seconds.
        max_target_positions: longest token sequence.
        seed: of the weights.
        name: for messages and reports.
        attn_implementation: ``sdpa`` or ``eager``.
        **changes: further fields of ``WhisperConfig``, e.g. ``dropout``.

    Raises:
        MissingDependencyError: a kind of tokenizer is given and openai-whisper is not installed.
    """
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

    if isinstance(tokenizer, str):
        tokenizer = build_tokenizer(tokenizer)
    specials = SpecialIds.of(tokenizer)
    ffn_dim = 4 * d_model if ffn_dim is None else ffn_dim
    config = WhisperConfig(
        vocab_size=len(tokenizer),
        num_mel_bins=num_mel_bins,
        encoder_layers=encoder_layers,
        decoder_layers=decoder_layers,
        d_model=d_model,
        encoder_attention_heads=attention_heads,
        decoder_attention_heads=attention_heads,
        encoder_ffn_dim=ffn_dim,
        decoder_ffn_dim=ffn_dim,
        max_source_positions=max_source_positions,
        max_target_positions=max_target_positions,
        decoder_start_token_id=specials.start,
        bos_token_id=specials.end,
        eos_token_id=specials.end,
        pad_token_id=specials.end,
        begin_suppress_tokens=None,
        **changes,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = WhisperForConditionalGeneration._from_config(
            config, attn_implementation=attn_implementation
        )
    model.generation_config = generation_config(tokenizer, specials, config)
    extractor = WhisperFeatureExtractor(
        feature_size=num_mel_bins, chunk_length=max_source_positions // POSITIONS_PER_SECOND
    )
    return WhisperBundle(model.eval(), tokenizer, extractor, specials, name)
