"""Vectors as a few bytes: train, encode and decode the multi-codebook quantiser of MVQ-KD."""

from __future__ import annotations

from espnet_kd.quantizer.config import QuantizerConfig
from espnet_kd.quantizer.packing import CodesError, pack, unpack
from espnet_kd.quantizer.quantizer import Quantizer

__all__ = ["CodesError", "Quantizer", "QuantizerConfig", "pack", "unpack"]
