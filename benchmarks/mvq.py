"""What the quantiser's benchmarks share: the published package, vectors, options, sizes.

``pip install --no-deps multi_quantization`` (and h5py, which it imports) where it is missing.
"""

from __future__ import annotations

import argparse
import importlib
from typing import Any

import torch
from place import Place
from torch import Tensor

from espnet_kd.quantizer import Quantizer, QuantizerConfig

ANCHOR = "multi_quantization"
OURS = "espnet_kd"
CODEBOOK_SIZE = 256
SIZES = ("256x8", "768x8", "256x16", "768x16")
"""Width and number of codebooks."""
_CONTRAST, _DECAY = 10.0, 1.0


def published() -> Any:
    """The published package; ends the program where it is missing, which is no failure."""
    try:
        return importlib.import_module("multi_quantization")
    except ImportError as error:
        print(f"nothing to compare with ({error}): pip install --no-deps multi_quantization h5py")
        raise SystemExit(0) from error


def parser(options: argparse.ArgumentParser, sizes: tuple[str, ...]) -> argparse.ArgumentParser:
    """Add the sizes to a benchmark's options."""
    options.add_argument("--sizes", nargs="+", default=sizes, help="width x codebooks, e.g. 256x8")
    return options


def place_of(args: argparse.Namespace) -> Place:
    """Where the options say; the published package knows float32 alone."""
    if args.dtype != "float32":
        raise SystemExit("the published quantiser computes in float32 alone; leave out --dtype")
    return Place.of(args)


def config_of(size: str) -> QuantizerConfig:
    dim, number = map(int, size.split("x"))
    return QuantizerConfig(dim, number, CODEBOOK_SIZE)


def both(package: Any, state: dict[str, Tensor], config: QuantizerConfig) -> dict[str, Any]:
    """The published quantiser and ours with the same weights."""
    theirs = package.Quantizer(config.dim, config.codebook_size, config.num_codebooks)
    ours = Quantizer(config)
    for quantizer in (theirs, ours):
        quantizer.load_state_dict(state)
        quantizer.eval()
    return {ANCHOR: theirs, OURS: ours}


def vectors(count: int, dim: int, seed: int) -> Tensor:
    """Vectors (count, dim) like hidden states: few directions matter, and their law is no normal.

    Normal numbers with a falling spectrum, mixed, rectified, mixed again; all seeds share the law.
    """
    law = torch.Generator().manual_seed(0)
    mixes = [torch.randn(dim, dim, generator=law) / dim**0.5 for _ in range(2)]
    spectrum_D = _CONTRAST * torch.arange(1, dim + 1).float().pow(-_DECAY)
    hidden = torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)) * spectrum_D
    return torch.relu(hidden @ mixes[0]) @ mixes[1]
