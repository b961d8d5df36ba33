"""Tiny directories of a language model, a text encoder, a CLAP and a CTC recogniser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

WORDS = ("[PAD]", "[BOS]", "[UNK]", "one", "two", "three", "four", "|", "a", "b", "c")


def word_tokenizer(folder: Path, *, limit: int = 32) -> None:
    """A tokenizer of whole words, saved with everything that AutoTokenizer asks for."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]")
    )
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="[PAD]",
        bos_token="[BOS]",
        unk_token="[UNK]",
        model_max_length=limit,
    ).save_pretrained(folder)


def language_model(folder: Path) -> Path:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=len(WORDS), n_positions=16, n_embd=8, n_layer=1, n_head=2, bos_token_id=1
    )
    return _save(GPT2LMHeadModel(_seeded(config)), folder, scale=20.0)


def text_encoder(folder: Path) -> Path:
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=16,
    )  # fmt: skip
    return _save(BertModel(_seeded(config)), folder, scale=20.0)


def clap(folder: Path, *, fusion: bool = False, rate: int = 48000) -> Path:
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel

    config = ClapConfig(
        text_config={
            "vocab_size": len(WORDS), "hidden_size": 16, "num_hidden_layers": 1,
            "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 40,
            "projection_dim": 8,
        },
        audio_config={
            "spec_size": 32, "num_mel_bins": 8, "window_size": 2, "patch_size": 4,
            "patch_stride": [4, 4], "patch_embeds_hidden_size": 8, "hidden_size": 16,
            "depths": [1, 1], "num_attention_heads": [1, 2], "num_hidden_layers": 2,
            "enable_fusion": fusion, "projection_dim": 8,
        },
        projection_dim=8,
    )  # fmt: skip
    path = _save(ClapModel(_seeded(config)), folder)
    ClapFeatureExtractor(
        feature_size=8, sampling_rate=rate, hop_length=rate // 100, max_length_s=1,
        fft_window_size=1024,
        truncation="fusion" if fusion else "rand_trunc", padding="repeatpad",
    ).save_pretrained(folder)  # fmt: skip
    return path


def seamless(folder: Path) -> Path:
    """A SeamlessM4T that writes English or Arabic."""
    from transformers import (
        SeamlessM4TFeatureExtractor,
        SeamlessM4Tv2Config,
        SeamlessM4Tv2ForSpeechToText,
    )

    small = {"layers": 1, "attention_heads": 2, "ffn_dim": 16}
    parts = ("encoder", "decoder", "t2u_encoder", "t2u_decoder")
    config = SeamlessM4Tv2Config(
        vocab_size=len(WORDS), hidden_size=16, max_position_embeddings=32,
        speech_encoder_layers=1, speech_encoder_attention_heads=2,
        speech_encoder_intermediate_size=16, feature_projection_input_dim=16, vocoder_num_langs=2,
        **{f"{part}_{key}": value for part in parts for key, value in small.items()},
    )  # fmt: skip
    model = SeamlessM4Tv2ForSpeechToText(_seeded(config))
    model.generation_config._from_model_config = False
    model.generation_config.text_decoder_lang_to_code_id = {"eng": 5, "arb": 6}
    model.generation_config.max_length = 8
    path = _save(model, folder)
    SeamlessM4TFeatureExtractor(feature_size=8, num_mel_bins=8).save_pretrained(folder)
    return path


def ctc(folder: Path) -> Path:
    from transformers import (
        Wav2Vec2Config,
        Wav2Vec2CTCTokenizer,
        Wav2Vec2FeatureExtractor,
        Wav2Vec2ForCTC,
    )

    config = Wav2Vec2Config(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, conv_dim=(8, 8), conv_kernel=(10, 8), conv_stride=(40, 8),
        num_feat_extract_layers=2, num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    path = _save(Wav2Vec2ForCTC(_seeded(config)), folder, tokenizer=False)
    vocabulary = folder.parent / "vocab.json"
    vocabulary.write_text(str({word: i for i, word in enumerate(WORDS)}).replace("'", '"'))
    Wav2Vec2CTCTokenizer(str(vocabulary), unk_token="[UNK]", pad_token="[PAD]").save_pretrained(
        folder
    )
    Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return path


def _seeded(config: Any) -> Any:
    torch.manual_seed(0)
    return config


def _save(model: Any, folder: Path, *, scale: float = 1.0, tokenizer: bool = True) -> Path:
    """Larger weights: a fresh model of this size says nearly the same to everything."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(scale)
    model.save_pretrained(folder)
    if tokenizer:
        word_tokenizer(folder)
    return folder
