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


def options_per_level(num_codebooks: int, codebook_size: int, *, last: bool = True) -> list[int]:
    """Options kept by groups of 1, 2, 4 ... N codebooks, N a power of two.

    Args:
        num_codebooks: N.
        codebook_size: centres of each.
        last: whether nothing comes after these codebooks: then one option is kept in the end.
    """
    levels, codebooks = [], 1
    while codebooks < num_codebooks:
        levels.append(kept_options(codebook_size, codebooks))
        codebooks *= 2
    return [*levels, 1 if last else kept_options(codebook_size, codebooks)]


def powers_of_two(number: int) -> list[int]:
    """The powers of two that a number is the sum of, largest first: 13 = 8 + 4 + 1."""
    return [1 << bit for bit in range(number.bit_length() - 1, -1, -1) if number >> bit & 1]
