"""Every checkpoint format, to and from one encoder; and quantisers."""

from __future__ import annotations

from espnet_kd.checkpoints.fairseq_ctc import load_ctc_head
from espnet_kd.checkpoints.load import FORMATS, WRITERS, load_model
from espnet_kd.checkpoints.native import load_native, save_native
from espnet_kd.checkpoints.quantizer import (
    load_quantizer,
    save_published_quantizer,
    save_quantizer,
)

__all__ = [
    "FORMATS",
    "WRITERS",
    "load_ctc_head",
    "load_model",
    "load_native",
    "load_quantizer",
    "save_native",
    "save_published_quantizer",
    "save_quantizer",
]
