"""Stage 0: prove the teacher before GPU time is spent on it.

It must have the parameters of the published model, as many layers as the student, and hidden
states that are finite and alive. What it scores downstream is proved by stages 5 and 6 with
``--superb_models teacher`` (HuBERT Base: PER 5.41, WER 6.42; WavLM Base: PER 4.84, WER 6.21;
WavLM Base+: PER 3.92, WER 5.59).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from torch import Tensor

from espnet_kd import load_model
from espnet_kd.encoder import SpeechEncoder
from espnet_kd.errors import KDError
from espnet_kd.evaluation.profile import profile, profile_table
from espnet_kd.utils.files import write_json

PARAMETERS = {
    "hubert_base": 94_371_712,
    "hubert_large": 315_438_720,
    "wavlm_base": 94_381_936,
    "wavlm_base_plus": 94_381_936,
}
"""With the mask embedding, as Hugging Face's models have it."""
SAMPLES = 48_000
MIN_SPREAD = 1e-3
"""Smallest standard deviation over time of a layer that still says something."""


def waveforms() -> tuple[Tensor, Tensor]:
    """Two utterances of noise under a slow envelope, (2, S), and their lengths."""
    noise_BS = torch.randn(2, SAMPLES, generator=torch.Generator().manual_seed(0))
    envelope_S = torch.sin(torch.linspace(0, 12, SAMPLES)) ** 2
    lengths_B = torch.tensor([SAMPLES, SAMPLES // 2])
    x_BS = 0.1 * noise_BS * envelope_S
    x_BS[1, SAMPLES // 2 :] = 0
    return x_BS, lengths_B


def problems_of(model: SpeechEncoder, expected: int) -> list[str]:
    """Everything that is wrong with a teacher; ``expected`` 0 = any size."""
    problems = []
    count = sum(parameter.numel() for parameter in model.parameters())
    if expected and count != expected:
        problems.append(f"{count:,} parameters, the published model has {expected:,}")
    with torch.inference_mode():
        output = model(*waveforms())
    for number, hidden_BTD in enumerate(output.layer_outputs):
        if not torch.isfinite(hidden_BTD).all():
            problems.append(f"layer {number}: NaN or infinity")
        elif hidden_BTD[0].std(dim=0).mean() < MIN_SPREAD:
            problems.append(f"layer {number}: the same vector at every time, it knows nothing")
    frames = [int(length) for length in output.lengths_B]
    expected_frames = [int(f) for f in model.frame_lengths(waveforms()[1])]
    # fairseq's masks also count frames that are mostly padding
    allowed = 2 if model.config.frame_padding == "chunked" else 0
    if any(not 0 <= a - b <= allowed for a, b in zip(frames, expected_frames, strict=True)):
        problems.append(f"{frames} frames, not what its convolutions give")
    return problems


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("teacher", type=Path)
    parser.add_argument("--expect", default="", help=f"one of {', '.join(PARAMETERS)}, or nothing")
    parser.add_argument("--seconds", type=float, default=16.0, help="length for the profile")
    parser.add_argument("--json", type=Path, required=True, help="where the profile goes")
    args = parser.parse_args()
    try:
        problems = problems_of(load_model(args.teacher), PARAMETERS.get(args.expect, 0))
        if problems:
            sys.exit("\n  - ".join([f"{args.teacher} cannot teach:", *problems]))
        measured = profile(str(args.teacher), seconds=args.seconds, runs=1)
    except KDError as error:
        sys.exit(f"prove_teacher.py: {error}")
    print(profile_table(measured))
    write_json(args.json, measured)
    print(f"{args.teacher}: hidden states are finite and alive, the teacher is proved")


if __name__ == "__main__":
    main()
