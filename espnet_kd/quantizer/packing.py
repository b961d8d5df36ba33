"""Codes as bytes: neighbours share one while they fit.

Code j of a byte's r codes is ``(byte // K**j) % K``, so that 16 centres make two codes a byte.

Shapes: N codebooks, P bytes, r codes per byte.
"""

from __future__ import annotations

import torch
from torch import Tensor

from espnet_kd.errors import KDError
from espnet_kd.quantizer.config import MAX_BYTE, QuantizerConfig


class CodesError(KDError, ValueError):
    """Codes that do not belong to the quantiser; the message says how they differ."""


def pack(codes: Tensor, config: QuantizerConfig) -> Tensor:
    """Codes (..., N) as bytes (..., P), uint8.

    Raises:
        ConfigError: a code of this quantiser needs more than a byte.
        CodesError: another number of codebooks, or codes out of range.
    """
    check_codes(codes, config)
    width = config.num_codebooks // config.bytes_per_frame
    powers = config.codebook_size ** torch.arange(width, device=codes.device)
    grouped = codes.long().reshape(*codes.shape[:-1], config.bytes_per_frame, width)
    packed: Tensor = (grouped * powers).sum(dim=-1)
    return packed.to(torch.uint8)


def unpack(codes: Tensor, config: QuantizerConfig) -> Tensor:
    """Bytes (..., P), or codes (..., N) as they are, to int64 codes (..., N).

    Raises:
        CodesError: neither P nor N numbers a frame, or codes out of range.
    """
    codes = codes.long() if not codes.is_floating_point() else codes
    packed = config.codes_per_byte > 1 and codes.shape[-1:] == (config.bytes_per_frame,)
    if packed:
        if codes.numel() and (int(codes.min()) < 0 or int(codes.max()) >= MAX_BYTE):
            raise CodesError("packed codes must be bytes, 0 to 255")
        powers = config.codebook_size ** torch.arange(config.codes_per_byte, device=codes.device)
        split = (codes.unsqueeze(-1) // powers) % config.codebook_size
        codes = split.flatten(-2)
    check_codes(codes, config)
    return codes


def check_codes(codes: Tensor, config: QuantizerConfig) -> None:
    """Raise ``CodesError`` unless these are integers 0 ... K-1, N of them per frame."""
    if codes.is_floating_point() or codes.dtype == torch.bool:
        raise CodesError(f"codes are {codes.dtype}; give integers")
    if codes.dim() == 0 or codes.shape[-1] != config.num_codebooks:
        raise CodesError(
            f"codes {tuple(codes.shape)} do not fit a quantiser of {config.num_codebooks} "
            "codebooks; the last dimension counts the codebooks. They stem from another quantiser"
        )
    if codes.numel():
        low, high = int(codes.min()), int(codes.max())
        if low < 0 or high >= config.codebook_size:
            raise CodesError(
                f"codes range from {low} to {high}, allowed are 0 to {config.codebook_size - 1}; "
                "they stem from another quantiser or the file is damaged"
            )
