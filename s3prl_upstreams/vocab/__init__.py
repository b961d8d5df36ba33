"""Symbol lists of S3PRL's tasks: characters (ASR, SF) and phonemes (PR)."""

from __future__ import annotations
