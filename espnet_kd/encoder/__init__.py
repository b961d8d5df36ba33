"""One speech encoder for every teacher and every student."""

from __future__ import annotations

from espnet_kd.encoder.config import LayerConfig, SpeechEncoderConfig
from espnet_kd.encoder.model import SpeechEncoder
from espnet_kd.encoder.output import EncoderOutput, FrameFeatures

__all__ = ["EncoderOutput", "FrameFeatures", "LayerConfig", "SpeechEncoder", "SpeechEncoderConfig"]
