"""The generation configuration that Whisper needs, for models that come without one."""

from __future__ import annotations

from typing import Any

from espnet_kd.whisper.specials import SpecialIds

MAX_INITIAL_TIMESTAMP = 50
"""First timestamp that decoding may choose, in steps of 0.02 s: 1 s, as published."""


def generation_config(tokenizer: Any, specials: SpecialIds, config: Any) -> Any:
    """A ``GenerationConfig`` with everything that Whisper's ``generate`` looks up.

    Args:
        tokenizer: its tokens name what is suppressed.
        specials: ids of the special tokens.
        config: the ``WhisperConfig``.
    """
    from transformers import GenerationConfig

    values: dict[str, Any] = {
        "bos_token_id": specials.end,
        "eos_token_id": specials.end,
        "pad_token_id": specials.end,
        "decoder_start_token_id": specials.start,
        "max_length": config.max_target_positions,
        "no_timestamps_token_id": specials.notimestamps,
        "prev_sot_token_id": specials.startofprev,
        "max_initial_timestamp_index": MAX_INITIAL_TIMESTAMP,
        "return_timestamps": False,
        "is_multilingual": specials.is_multilingual,
        "suppress_tokens": suppressed(tokenizer, specials),
        "begin_suppress_tokens": [
            *tokenizer.encode(" ", add_special_tokens=False),
            specials.end,
        ],
        "alignment_heads": upper_half_heads(config.decoder_layers, config.decoder_attention_heads),
    }
    if specials.is_multilingual:
        values["lang_to_id"] = {f"<|{code}|>": i for code, i in specials.languages.items()}
        values["task_to_id"] = {
            "transcribe": specials.transcribe,
            "translate": specials.translate,
        }
    return GenerationConfig(**values)


def suppressed(tokenizer: Any, specials: SpecialIds) -> list[int]:
    """Tokens that text never holds: symbols that stand for no speech, and special tokens."""
    from transformers.models.whisper.configuration_whisper import (
        NON_SPEECH_TOKENS,
        NON_SPEECH_TOKENS_MULTI,
    )

    symbols = NON_SPEECH_TOKENS_MULTI if specials.is_multilingual else NON_SPEECH_TOKENS
    steering = {specials.start, specials.transcribe, specials.translate, specials.startofprev,
                tokenizer.convert_tokens_to_ids("<|startoflm|>"), specials.nospeech}  # fmt: skip
    return [*(i for i in symbols if i < specials.end), *sorted(steering)]


def upper_half_heads(layers: int, heads: int) -> list[list[int]]:
    """[layer, head] of all heads of the upper half: where alignment is looked for by default."""
    return [[layer, head] for layer in range(layers // 2, layers) for head in range(heads)]
