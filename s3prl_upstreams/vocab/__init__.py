"""Symbol lists of S3PRL's tasks: ``characters.txt`` (ASR), ``phonemes.txt`` (PR)."""

from __future__ import annotations
