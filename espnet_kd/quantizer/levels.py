"""How many options the search for codes keeps."""

from __future__ import annotations

MAX_OPTIONS = 128


def kept_options(codebook_size: int, codebooks: int) -> int:
    """Options that a group of so many codebooks keeps while other groups are left."""
    kept = 8 if codebook_size <= 16 else 16
    while codebooks >= 4 and kept < MAX_OPTIONS:
        codebooks //= 4
        kept *= 2
    return kept


def options_per_level(num_codebooks: int, codebook_size: int) -> list[int]:
    """Options kept by groups of 1, 2, 4 ... N codebooks; 1 by the last."""
    levels, codebooks = [], 1
    while codebooks < num_codebooks:
        levels.append(kept_options(codebook_size, codebooks))
        codebooks *= 2
    return [*levels, 1]
