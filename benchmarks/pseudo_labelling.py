"""Throughput of pseudo-labelling: our two backends, transformers' own call and openai-whisper.

All have the same random weights, converted by this package and by ``openai_weights``, and label the
same 30 s segments of noise, from waveform to tokens, greedily. Random weights say nothing about
length, so every label is forced to have the same number of tokens: the end token is suppressed and
decoding stops after ``--tokens``. The engines' tokens are compared (printed). Engines that are not
installed are left out. Run: ``python benchmarks/pseudo_labelling.py``.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import common
import numpy as np
import numpy.typing as npt
import torch
import whispers
from place import Place
from safetensors.torch import load_file, save_file
from torch import Tensor

from espnet_kd.evaluation.timing import noise, use_threads
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

SIZES = {"cpu": ("tiny", "base"), "cuda": ("small", "large")}
BATCHES = {"cpu": (1, 8), "cuda": (1, 64)}
TOKENS = 64
NEVER = (
    whispers.SPECIALS.end,
    whispers.SPECIALS.start,
    whispers.SPECIALS.translate,
    whispers.SPECIALS.transcribe,
    50360,
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

COLUMNS = {
    "audio s per CPU s": "audio_per_cpu_second",
    "audio s per s": "audio_per_second",
    "tokens as the anchor's": "same",
}


def installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def names(place: Place) -> list[str]:
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


def convert(size: str, folder: Path) -> None:
    """Leave the model in ``folder`` as the other engines read it."""
    if not installed("whisper"):
        return
    bundle = model(size, Place(), build_tokenizer("multilingual"))
    weights = openai_weights(bundle.model.state_dict())
    save_file({name: t.contiguous().clone() for name, t in weights.items()}, _openai_file(folder))
    if installed("ctranslate2"):
        convert_to_ctranslate2(bundle, folder / "ctranslate2")


def _openai_file(folder: Path) -> Path:
    return folder / "openai.safetensors"


# --- Engines
def engine(name: str, size: str, place: Place, folder: Path, tokens: int) -> Engine:
    """One of :func:`names`, with its model loaded."""
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


# --- The benchmark
@contextlib.contextmanager
def converted(size: str, folder: Path | None) -> Iterator[Path]:
    """A folder with the converted models, for the time of the block if none is given."""
    if folder is not None:
        yield folder
        return
    with tempfile.TemporaryDirectory() as new:
        convert(size, Path(new))
        yield Path(new)


def segments(batch: int) -> Waves:
    """Noise of 30 s."""
    return list(noise(batch, whispers.SEGMENT).numpy())


def compare(
    args: argparse.Namespace, place: Place, size: str, folder: Path
) -> list[dict[str, Any]]:
    """Rows of one size of model."""
    engines, weights = {}, {}
    for name in args.engines or names(place):
        before = place.held()
        engines[name] = engine(name, size, place, folder, args.tokens)
        weights[name] = place.held() - before
    anchor, rows = next(iter(engines)), []
    for batch in args.batch or BATCHES[args.device]:
        works = {name: partial(label, segments(batch)) for name, label in engines.items()}
        found, peaks = {}, {}
        for name, work in works.items():
            with place.peak() as taken:
                found[name] = work()
            peaks[name] = weights[name] + taken()
        timings = place.measure(works, common.runs_of(args, whispers.RUNS), warm_up=0)
        for name in engines:
            if not place.is_cuda:
                peaks[name] = memory_of(name, size, batch, folder, args)
            elif name in CT2:
                peaks[name] = float("nan")  # not torch's memory
            row = common.row(
                f"{size}, {batch} × 30 s", name, timings[name], timings[anchor], peaks[name]
            )
            rows.append(row | throughput(row, batch) | same(found[name], found[anchor]))
    return rows


def throughput(row: dict[str, Any], batch: int) -> dict[str, float]:
    """Seconds of audio for each second of computing."""
    audio = batch * whispers.SEGMENT
    wall = row.get("device_seconds", row["wall_seconds"])
    return {
        "audio_per_cpu_second": audio / row["cpu_seconds"],
        "audio_per_second": audio / wall,
    }


def same(found: list[list[int]], wanted: list[list[int]]) -> dict[str, str]:
    """How many segments have the anchor's tokens."""
    equal = sum(a == b for a, b in zip(found, wanted, strict=True))
    return {"same": f"{equal} of {len(wanted)}"}


def memory_of(name: str, size: str, batch: int, folder: Path, args: argparse.Namespace) -> float:
    """Peak MiB of one batch in a process of its own."""
    options = {"size": size, "batch": batch, "converted": folder, "dtype": args.dtype}
    options["tokens"] = args.tokens
    arguments = [part for key, value in options.items() for part in (f"--{key}", str(value))]
    return common.memory_in_fresh_process(name, __file__, *arguments)


def main() -> None:
    """Compare all engines for every size and batch."""
    parser = common.parser(__doc__)
    parser.add_argument("--size", nargs="+", choices=whispers.SHAPES, help=f"default {SIZES}")
    parser.add_argument("--batch", type=int, nargs="+", help=f"segments, default {BATCHES}")
    parser.add_argument("--tokens", type=int, default=TOKENS, help="of each label")
    parser.add_argument("--engines", nargs="+", help="the first is the anchor; default: all")
    parser.add_argument("--converted", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    place = Place.of(args)
    if args.memory_of:
        with use_threads(args.threads), converted(args.size[0], args.converted) as folder:
            label = engine(args.memory_of, args.size[0], place, folder, args.tokens)
            label(segments(args.batch[0]))
        common.print_peak()
        return
    rows = []
    for size in args.size or SIZES[args.device]:
        with converted(size, args.converted) as folder:
            rows += compare(args, place, size, folder)
    common.show(rows, {}, place, args.json, columns=COLUMNS)


if __name__ == "__main__":
    main()
