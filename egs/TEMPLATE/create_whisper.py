"""Make a Whisper with random weights: a teacher to train here, or what a student is compared with.

``create_whisper.py --conf teacher.yaml --seconds 4 --seed 0 --out DIR``: sizes from a file
``create_whisper.py --like DIR --seed 0 --out DIR``: the shape of another one, to train from scratch
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml

from espnet_kd.errors import KDError
from espnet_kd.whisper.config import POSITIONS_PER_SECOND
from espnet_kd.whisper.create import create_whisper
from espnet_kd.whisper.load import WhisperBundle, load_whisper, save_whisper
from espnet_kd.whisper.tokenizer import build_tokenizer


def from_file(conf: Path, seconds: int, seed: int) -> WhisperBundle:
    """Arguments of ``create_whisper``; ``ranks`` is how much of the vocabulary it gets."""
    sizes: dict[str, Any] = yaml.safe_load(conf.read_text(encoding="utf-8"))
    tokenizer = build_tokenizer("multilingual", sizes.pop("ranks", None))
    positions = POSITIONS_PER_SECOND * seconds
    return create_whisper(tokenizer, max_source_positions=positions, seed=seed, **sizes)


def like(folder: str, seed: int) -> WhisperBundle:
    """The same shape, vocabulary and window, other weights."""
    model = load_whisper(folder)
    config = model.model.config
    return create_whisper(
        model.tokenizer,
        encoder_layers=config.encoder_layers,
        decoder_layers=config.decoder_layers,
        d_model=config.d_model,
        attention_heads=config.encoder_attention_heads,
        ffn_dim=config.encoder_ffn_dim,
        num_mel_bins=config.num_mel_bins,
        max_source_positions=config.max_source_positions,
        max_target_positions=config.max_target_positions,
        seed=seed,
        init_std=config.init_std,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    shape = parser.add_mutually_exclusive_group(required=True)
    shape.add_argument("--conf", type=Path, help="YAML file of sizes")
    shape.add_argument("--like", help="folder of the model to imitate")
    parser.add_argument("--seconds", type=int, default=30, help="of audio that it hears at once")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    try:
        if args.conf:
            made = from_file(args.conf, args.seconds, args.seed)
        else:
            made = like(args.like, args.seed)
        save_whisper(made, args.out)
    except KDError as error:
        sys.exit(f"create_whisper.py: {error}")
    size = sum(parameter.numel() for parameter in made.model.parameters())
    print(f"{args.out}: {size / 1e6:.2f} M random parameters")


if __name__ == "__main__":
    main()
