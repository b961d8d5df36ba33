"""Our ESPnet tasks, models and trainer; importing any of them registers all our names."""

from __future__ import annotations

from espnet_kd.registry import register

register()
