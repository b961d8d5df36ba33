"""Scores that S3PRL leaves to other tools: DER of diarisation, MTWV of query by example.

Arrays and files only (numpy, scipy): neither torch nor S3PRL is needed to score.
"""

from __future__ import annotations
