"""Features of a frozen upstream, computed once and used in every epoch.

``options`` says what is asked for, ``keys`` tells waves and upstreams apart, ``store`` and
``shards`` keep tensors in memory and on disk, ``exact``, ``isolated`` and ``pooled`` are the three
ways to cut them, ``attach`` puts one of them into S3PRL's runner.
"""

from __future__ import annotations
