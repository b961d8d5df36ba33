"""Speed of a teacher whose student drafts for it (speculative decoding) next to the teacher alone.

The student has the teacher's encoder and two of its decoder layers, and only its decoder works.
How often a true student is right is a matter of training; random weights would never be. So the
teacher is built to be followed: what its other decoder layers add is scaled by ``--influence``
(0: they add nothing, the student is always right), and its logits are sharpened to the confidence
of a trained model. The table says how many tokens each pass of the teacher gave, which is the
figure to compare with that of a true pair; texts must be identical. One segment at a time, a fixed
number of tokens. Run: ``python benchmarks/speculative_decoding.py``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import common
import torch
import whispers
from place import Place

from espnet_kd.evaluation.timing import noise, use_threads
from espnet_kd.whisper.draft import make_draft
from espnet_kd.whisper.load import WhisperBundle
from espnet_kd.whisper.shrink import shrink_whisper
from espnet_kd.whisper.transcribe import DecodeOptions, Transcriber

ALONE = "teacher alone"
DRAFTED = "teacher and draft of 2 layers"
SIZES = {"cpu": ("base", 6), "cuda": ("large", 32)}
"""Width of a published shape, encoder layers; the decoder has the 32 layers of large."""

DECODER_LAYERS = 32
INFLUENCES = (0.0, 0.02, 0.05)
TOKENS = 64
SEGMENTS = 3
"""Whose texts are compared; the first one is timed."""

SHARPNESS = 60.0
COLUMNS = {
    "tokens per pass of the teacher": "tokens_per_pass",
    "s per s of audio": "wall_per_second",
    "identical texts": "identical",
}


def teacher_of(size: str, encoder_layers: int, influence: float, place: Place) -> WhisperBundle:
    """A model whose decoder layers 1 to 30 add little."""
    changes = {"encoder_layers": encoder_layers, "decoder_layers": DECODER_LAYERS}
    bundle = whispers.whisper(size, place, **changes)
    whispers.vary_text(bundle)
    decoder = bundle.model.model.decoder
    with torch.no_grad():
        decoder.layer_norm.weight.mul_(SHARPNESS)
        for layer in decoder.layers[1:-1]:
            for last in (layer.self_attn.out_proj, layer.encoder_attn.out_proj, layer.fc2):
                last.weight.mul_(influence)
                last.bias.mul_(influence)
    bundle.model.to(place.dtype)
    bundle.model.generation_config.suppress_tokens = [whispers.SPECIALS.end]
    return bundle


def transcribers(
    args: argparse.Namespace, influence: float, place: Place, names: tuple[str, ...]
) -> tuple[dict[str, Transcriber], dict[str, float]]:
    """The teacher by itself and with its draft; MiB that the weights of each take on a card."""
    size, layers = SIZES[args.device]
    before = place.held()
    teacher = teacher_of(args.size or size, args.encoder_layers or layers, influence, place)
    options = DecodeOptions(
        language="en", max_length=len(whispers.PREFIX) + args.tokens, begin_suppress=False
    )
    found, weights = {}, {}
    for name in names:
        draft = make_draft(shrink_whisper(teacher)[0], teacher) if name == DRAFTED else None
        found[name] = Transcriber(teacher, options, draft)
        weights[name] = place.held() - before
    return found, weights


def text(transcriber: Transcriber, seed: int = 0) -> str:
    """Decode one segment of noise."""
    (wave_S,) = noise(1, whispers.SEGMENT, seed).numpy()
    return transcriber.transcribe([wave_S])[0].text


def passes(transcriber: Transcriber, work: Callable[[], str]) -> tuple[int, str]:
    """How often the teacher's decoder ran, and the text."""
    calls = []
    decoder: Any = transcriber.bundle.model.model.decoder
    handle = decoder.register_forward_pre_hook(lambda *_: calls.append(1))
    found = work()
    handle.remove()
    return len(calls), found


def compare(args: argparse.Namespace, influence: float, place: Place) -> list[dict[str, Any]]:
    """Both rows of one teacher."""
    both, weights = transcribers(args, influence, place, (ALONE, DRAFTED))
    case = f"influence {influence:g}"
    figures: dict[str, dict[str, Any]] = {}
    wanted: list[str] = []
    for name, transcriber in both.items():
        counted = [
            passes(transcriber, partial(text, transcriber, seed)) for seed in range(SEGMENTS)
        ]
        texts = [found for _, found in counted]
        wanted = wanted or texts
        equal = sum(a == b for a, b in zip(texts, wanted, strict=True))
        runs = sum(number for number, _ in counted)
        figures[name] = {
            "identical": f"{equal} of {SEGMENTS}",
            "tokens_per_pass": SEGMENTS * args.tokens / runs,
            "different_tokens": len(set(" ".join(texts).split())),
        }
    works = {name: partial(text, transcriber) for name, transcriber in both.items()}
    peaks = {}
    if place.is_cuda:
        peaks = {n: weights[n] + common.taken_by(place, work) for n, work in works.items()}
    timings = place.measure(works, common.runs_of(args, whispers.RUNS), warm_up=0)
    rows = []
    for name in both:
        if not place.is_cuda:
            peaks[name] = memory_of(name, influence, args)
        row = common.row(case, name, timings[name], timings[ALONE], peaks[name])
        row["wall_per_second"] = timings[name].timing.wall / whispers.SEGMENT
        rows.append(row | figures[name])
    common.tell(rows)
    return rows


def memory_of(name: str, influence: float, args: argparse.Namespace) -> float:
    """Peak MiB of one text in a process of its own."""
    options: dict[str, Any] = {"influence": influence, "tokens": args.tokens, "dtype": args.dtype}
    options |= {
        key: value
        for key in ("size", "encoder_layers")
        if (value := getattr(args, key)) is not None
    }
    arguments = [part for key, value in options.items() for part in (f"--{key}", str(value))]
    return common.memory_in_fresh_process(name, __file__, *arguments)


def main() -> None:
    """Compare for every influence."""
    parser = common.parser(__doc__)
    parser.add_argument("--size", choices=whispers.SHAPES, help=f"width; default {SIZES}")
    parser.add_argument("--encoder_layers", type=int, help=f"default {SIZES}")
    parser.add_argument("--influence", type=float, nargs="+", default=INFLUENCES)
    parser.add_argument("--tokens", type=int, default=TOKENS)
    args = parser.parse_args()
    place = Place.of(args)
    if args.memory_of:
        with use_threads(args.threads):
            both, _ = transcribers(args, args.influence[0], place, (args.memory_of,))
            text(both[args.memory_of])
        common.print_peak()
        return
    rows = []
    for influence in args.influence:
        rows += compare(args, influence, place)
    common.show(rows, {}, place, args.json, columns=COLUMNS)


if __name__ == "__main__":
    main()
