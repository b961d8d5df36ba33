"""Every checkpoint format, to and from one encoder."""

from __future__ import annotations

from espnet_kd.checkpoints.load import FORMATS, WRITERS, load_model
from espnet_kd.checkpoints.native import load_native, save_native

__all__ = ["FORMATS", "WRITERS", "load_model", "load_native", "save_native"]
