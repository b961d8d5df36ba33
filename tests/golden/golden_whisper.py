"""The golden Whisper: one random teacher, the students made of it, one batch."""

from __future__ import annotations

import functools
import json
from typing import Any

import numpy as np
import pytest
import torch
from golden_cases import golden_root
from safetensors.torch import load_file
from torch import Tensor
from transformers import WhisperConfig, WhisperFeatureExtractor

from espnet_kd.whisper.config import POSITIONS_PER_SECOND, arguments_of
from espnet_kd.whisper.load import WhisperBundle, build_model
from espnet_kd.whisper.shrink import shrink_whisper
from espnet_kd.whisper.specials import SpecialIds

ROOT = golden_root() / "whisper"
marks = [
    pytest.mark.golden,
    pytest.mark.skipif(not ROOT.is_dir(), reason=f"no golden folder {ROOT}: set ESPNET_KD_GOLDEN"),
]


@functools.cache
def document(name: str) -> Any:
    """A JSON file of the folder."""
    return json.loads((ROOT / f"{name}.json").read_text("utf-8"))


@functools.cache
def arrays(name: str) -> dict[str, Tensor]:
    """An npz file of the folder."""
    with np.load(ROOT / f"{name}.npz") as stored:
        return {key: torch.from_numpy(stored[key]) for key in stored.files}


def specials() -> SpecialIds:
    """Special tokens of the small vocabulary, as far as the numbers need them."""
    losses = document("losses")
    return SpecialIds(
        start=losses["decoder_start_token_id"],
        end=losses["pad_token_id"],
        startofprev=losses["prev_token_id"],
        transcribe=-1,
        translate=-1,
        nospeech=-1,
        notimestamps=-1,
        timestamp_begin=-1,
        languages={},
        is_multilingual=True,
    )


def teacher() -> WhisperBundle:
    """The teacher; it has no tokenizer."""
    values = document("teacher_config")["whisper_config"]
    config = WhisperConfig(**{name: values[name] for name in arguments_of(WhisperConfig)
                              if name in values})  # fmt: skip
    model = build_model(config, load_file(ROOT / "teacher.safetensors"), "golden teacher")
    extractor = WhisperFeatureExtractor(
        feature_size=config.num_mel_bins,
        chunk_length=config.max_source_positions // POSITIONS_PER_SECOND,
    )
    return WhisperBundle(model, None, extractor, specials(), "golden")


def student(name: str) -> WhisperBundle:
    """A student by the name that the files give it."""
    (options,) = (s for s in document("losses")["students"] if s["name"] == name)
    made, report = shrink_whisper(
        teacher(),
        encoder_layers=options["encoder_layers_arg"],
        decoder_layers=options["decoder_layers_arg"],
        decoder_layers_numbers=options["decoder_layers_numbers"],
        compat=True,
    )
    assert {"encoder": report.encoder, "decoder": report.decoder} == options["layers"]
    return made


def batch(name: str) -> dict[str, Tensor]:
    """Features, decoder input and labels; ``plain`` is the part without a prompt."""
    rows = slice(0, 2) if name == "plain" else slice(None)
    return {key: arrays("forward")[key][rows] for key in
            ("input_features", "decoder_input_ids", "labels")}  # fmt: skip
