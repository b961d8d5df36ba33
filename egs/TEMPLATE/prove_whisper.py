"""Stage 0: look at a Whisper before time is spent on it. What it recognises is proved in stage 2.

It must have the parameters of the published model of its name, know the language, and hear a
difference between two sounds.

Shapes: B batch, S samples, T positions, D width.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from espnet_kd.errors import KDError
from espnet_kd.utils.files import write_json
from espnet_kd.whisper.features import log_mel
from espnet_kd.whisper.load import WhisperBundle, load_whisper

PARAMETERS = {
    "whisper-tiny": 37_760_640,
    "whisper-base": 72_593_920,
    "whisper-small": 241_734_912,
    "whisper-medium": 763_857_920,
    "whisper-large-v2": 1_543_304_960,
    "whisper-large-v3": 1_543_490_560,
    "whisper-large-v3-turbo": 808_878_080,
}
"""Of the published models, the output projection not counted twice."""
MIN_SPREAD = 1e-3
"""Smallest standard deviation of encoder states over time that still says something."""


def problems_of(bundle: WhisperBundle, expected: int, language: str) -> list[str]:
    """Everything that is wrong with a teacher; ``expected`` 0 = any size."""
    problems = []
    count = sum(parameter.numel() for parameter in bundle.model.parameters())
    if expected and count != expected:
        problems.append(f"{count:,} parameters, the published model has {expected:,}")
    try:
        if language and bundle.specials.is_multilingual:
            bundle.specials.language_code(language)
        elif language and language != "en":
            problems.append(f"it is English-only and cannot label {language}")
    except KDError as error:
        problems.append(str(error))
    return problems + deafness(bundle)


def deafness(bundle: WhisperBundle) -> list[str]:
    """What noise and silence show about the encoder."""
    rate, extractor = bundle.feature_extractor.sampling_rate, bundle.feature_extractor
    noise_S = 0.1 * torch.randn(rate // 2, generator=torch.Generator().manual_seed(0))
    features = log_mel(extractor, [noise_S.numpy(), 0 * noise_S.numpy()])
    with torch.inference_mode():
        states_BTD = bundle.model.model.encoder(features).last_hidden_state
    if not torch.isfinite(states_BTD).all():
        return ["its encoder gives NaN or infinity"]
    if states_BTD[0].std(dim=0).mean() < MIN_SPREAD or torch.equal(*states_BTD):
        return ["its encoder hears no difference between noise and silence"]
    return []


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("teacher", type=Path)
    parser.add_argument("--expect", default="", help=f"name; known are {', '.join(PARAMETERS)}")
    parser.add_argument("--language", default="", help="code that it must know")
    parser.add_argument("--json", type=Path, required=True, help="where its sizes go")
    args = parser.parse_args()
    try:
        bundle = load_whisper(args.teacher)
        problems = problems_of(bundle, PARAMETERS.get(args.expect, 0), args.language)
    except KDError as error:
        sys.exit(f"prove_whisper.py: {error}")
    if problems:
        sys.exit("\n  - ".join([f"{args.teacher} cannot teach:", *problems]))
    config = bundle.model.config
    sizes = {
        "parameters": sum(parameter.numel() for parameter in bundle.model.parameters()),
        "encoder_layers": config.encoder_layers,
        "decoder_layers": config.decoder_layers,
        "d_model": config.d_model,
    }
    write_json(args.json, sizes)
    print(
        f"{args.teacher}: {sizes['parameters'] / 1e6:.1f} M parameters, "
        f"{config.encoder_layers}-{config.decoder_layers} layers of width {config.d_model}, "
        "it hears"
    )


if __name__ == "__main__":
    main()
