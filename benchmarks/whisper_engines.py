"""Engines that label: our two backends, transformers' own call, openai-whisper; one set of weights.

Shapes: B segments, M mel bins, F feature frames, T tokens.
"""

from __future__ import annotations

import contextlib
import importlib.util
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import whispers
from place import Place
from safetensors.torch import load_file, save_file
from torch import Tensor

from espnet_kd.whisper.ct2 import CTranslate2Backend, convert_to_ctranslate2, load_converted
from espnet_kd.whisper.features import log_mel
from espnet_kd.whisper.generate import TransformersBackend
from espnet_kd.whisper.hypothesis import Backend, DecodingOptions
from espnet_kd.whisper.load import WhisperBundle
from espnet_kd.whisper.tokenizer import build_tokenizer

PLAIN = "transformers, generate"
OURS = "espnet_kd, transformers"
OPENAI = "openai-whisper"
CT2 = {
    "espnet_kd, CTranslate2": None,
    "espnet_kd, CTranslate2 int8": "int8",
}
"""Name to compute type; None is the place's type."""

NEVER = (
    whispers.SPECIALS.end,
    whispers.SPECIALS.start,
    whispers.SPECIALS.translate,
    whispers.SPECIALS.transcribe,
    whispers.START_OF_LM,
    whispers.SPECIALS.startofprev,
    whispers.SPECIALS.nospeech,
)
"""The end, and what openai-whisper suppresses whatever one asks for."""

OPENAI_NAMES = (
    (r"^model\.", ""),
    (r"\.layers\.", ".blocks."),
    (r"\.self_attn_layer_norm\.", ".attn_ln."),
    (r"\.encoder_attn_layer_norm\.", ".cross_attn_ln."),
    (r"\.final_layer_norm\.", ".mlp_ln."),
    (r"\.self_attn\.", ".attn."),
    (r"\.encoder_attn\.", ".cross_attn."),
    (r"\.q_proj\.", ".query."),
    (r"\.k_proj\.", ".key."),
    (r"\.v_proj\.", ".value."),
    (r"\.out_proj\.", ".out."),
    (r"\.fc1\.", ".mlp.0."),
    (r"\.fc2\.", ".mlp.2."),
    (r"\.embed_positions\.weight$", ".positional_embedding"),
    (r"\.embed_tokens\.", ".token_embedding."),
    (r"^encoder\.layer_norm\.", "encoder.ln_post."),
    (r"^decoder\.layer_norm\.", "decoder.ln."),
)
"""transformers' names to openai-whisper's, one after the other."""

Waves = Sequence[npt.NDArray[np.float32]]
Engine = Callable[[Waves], list[list[int]]]
"""Waveforms of 30 s to the tokens behind the prefix."""


def installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def engine_names(place: Place) -> list[str]:
    """Engines that can run here, the anchor first."""
    found = [PLAIN, OURS]
    if installed("whisper"):
        if place.dtype != torch.bfloat16:
            found += [OPENAI]
        if installed("ctranslate2"):  # the converter asks for the vocabulary of openai-whisper
            found += CT2
    return found


# --- Models
def model(size: str, place: Place, tokenizer: Any = None) -> WhisperBundle:
    """Random weights that never end a text."""
    bundle = whispers.whisper(size, place, tokenizer)
    whispers.vary_text(bundle)
    bundle.model.to(place.dtype)
    bundle.model.generation_config.suppress_tokens = list(NEVER)
    bundle.model.generation_config.begin_suppress_tokens = None
    return bundle


def openai_weights(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Transformers' weights under openai-whisper's names; the tied projection is not stored."""
    renamed = {}
    for name, tensor in state.items():
        for pattern, replacement in OPENAI_NAMES:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    del renamed["proj_out.weight"]
    return renamed


def convert(size: str, place: Place, folder: Path) -> None:
    """Leave the model in ``folder`` as the other engines read it."""
    if not installed("whisper"):
        return
    # Made where the others make it: a card draws other random numbers.
    bundle = model(size, Place(place.device), build_tokenizer("multilingual"))
    bundle.model.cpu()
    weights = openai_weights(bundle.model.state_dict())
    save_file({name: t.contiguous().clone() for name, t in weights.items()}, _openai_file(folder))
    if installed("ctranslate2"):
        convert_to_ctranslate2(bundle, folder / "ctranslate2")


def _openai_file(folder: Path) -> Path:
    return folder / "openai.safetensors"


# --- Engines
def engine(name: str, size: str, place: Place, folder: Path, tokens: int) -> Engine:
    """One of :func:`engine_names`, with its model loaded."""
    options = DecodingOptions(max_label_length=len(whispers.PREFIX) + tokens)
    if name == PLAIN:
        return partial(label_plainly, model(size, place), place, tokens)
    if name == OPENAI:
        return partial(label_by_openai, openai_model(size, place, folder), place, tokens)
    if name == OURS:
        bundle = model(size, place)
        backend: Backend = TransformersBackend.of(bundle, options)
    else:
        bundle = load_converted(folder / "ctranslate2")
        backend = CTranslate2Backend(
            folder / "ctranslate2",
            bundle,
            options,
            device=place.device,
            compute_type=CT2[name] or str(place.dtype).removeprefix("torch."),
            threads=place.threads,
        )
    return partial(label_by_backend, backend, bundle.feature_extractor, place)


def label_by_backend(
    backend: Backend, extractor: Any, place: Place, waves: Waves
) -> list[list[int]]:
    """As ``bin.whisper_pseudo_label`` does."""
    features_BMF = log_mel(extractor, waves, device=str(place.home))
    encoded = backend.encode(features_BMF)
    return [list(h.tokens) for h in backend.generate(encoded, [whispers.PREFIX] * len(waves))]


@torch.inference_mode()
def label_plainly(
    bundle: WhisperBundle, place: Place, tokens: int, waves: Waves
) -> list[list[int]]:
    """As the published command does, with the features of transformers' extractor."""
    features_BMF = bundle.feature_extractor(
        list(waves), sampling_rate=16000, return_tensors="pt", device=str(place.home)
    ).input_features
    ids_BT = bundle.model.generate(
        features_BMF.to(place.home, place.dtype),
        language="en",
        task="transcribe",
        max_new_tokens=tokens,
        num_beams=1,
        force_unique_generate_call=True,
    )
    return ids_BT[:, -tokens:].tolist()


def openai_model(size: str, place: Place, folder: Path) -> Any:
    """openai-whisper's model with the same weights."""
    from whisper.model import ModelDimensions, Whisper

    shape = whispers.SHAPES[size]
    stack = (shape.width, shape.heads, shape.layers)
    audio = (whispers.MEL_BINS, whispers.FRAMES // 2, *stack)
    text = (whispers.VOCABULARY, whispers.MAX_TOKENS, *stack)
    model = Whisper(ModelDimensions(*audio, *text))
    model.load_state_dict(load_file(_openai_file(folder)), assign=True)
    # In float16 too its weights stay float32 and are converted in each product.
    return place.put(model).eval()


def label_by_openai(model: Any, place: Place, tokens: int, waves: Waves) -> list[list[int]]:
    """As ``whisper.decode`` does."""
    import whisper

    mels_BMF = torch.stack(
        [whisper.log_mel_spectrogram(wave, device=str(place.home)) for wave in waves]
    )
    options = whisper.DecodingOptions(
        language="en",
        without_timestamps=True,
        sample_len=tokens,
        suppress_tokens=list(NEVER),
        suppress_blank=False,
        fp16=place.dtype == torch.float16,
    )
    return [result.tokens for result in whisper.decode(model, mels_BMF, options)]


@contextlib.contextmanager
def converted(size: str, place: Place, folder: Path | None) -> Iterator[Path]:
    """A folder with the converted models, for the time of the block if none is given."""
    if folder is not None:
        yield folder
        return
    with tempfile.TemporaryDirectory() as new:
        convert(size, place, Path(new))
        yield Path(new)
