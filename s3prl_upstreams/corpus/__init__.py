"""Corpus readers for S3PRL's ``ctc`` downstream (PR, SF): its PyPI package leaves them out."""

from __future__ import annotations
