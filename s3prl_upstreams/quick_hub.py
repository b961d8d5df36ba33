"""Start S3PRL without importing the sixty upstreams of its hub.

``import s3prl.hub`` takes 24 CPU seconds where ESPnet is installed, 14 without it. The module made
here stands in its place with our names in it, and becomes the real one as soon as anybody asks
for something else.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from s3prl_upstreams.hub import HUB, add_names

ESPNET_TASK = "espnet2.tasks.hubert"
"""What S3PRL's hub imports of ESPnet, at 10 CPU seconds, for the names below only."""

ESPNET_UPSTREAMS = ("espnet_", "cvhubert", "wavlablm")
"""Beginnings of the upstream names that need it."""


def needs_espnet(upstream: str) -> bool:
    """Whether an upstream of S3PRL's is made of ESPnet's HuBERT task."""
    return upstream.startswith(ESPNET_UPSTREAMS)


@contextlib.contextmanager
def without(module: str) -> Iterator[None]:
    """Make ``import module`` fail inside the block, unless it is imported already."""
    hidden = module not in sys.modules
    if hidden:
        sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if hidden:
            sys.modules.pop(module, None)


class QuickHub(ModuleType):
    """``s3prl.hub`` with our names only, until another attribute is asked for."""

    def __getattr__(self, name: str) -> Any:
        """Execute the real module in this one's place and look again."""
        if name.startswith("__"):
            raise AttributeError(name)
        load(self, needs_espnet(name))
        return getattr(self, name)


def load(hub: QuickHub, with_espnet: bool = False) -> None:
    """Turn ``hub`` into the real module: same object, same name, all of its attributes."""
    spec = hub.__spec__
    assert spec is not None
    assert spec.loader is not None
    guard = contextlib.nullcontext() if with_espnet else without(ESPNET_TASK)
    hub.__class__ = ModuleType  # type: ignore[assignment]  # no way back here while its code runs
    try:
        with guard:
            spec.loader.exec_module(hub)
    except BaseException:
        hub.__class__ = QuickHub
        raise
    add_names(hub)


def provide_hub(quick: bool = True) -> ModuleType:
    """Return ``s3prl.hub`` with our names, as quickly as possible.

    Args:
        quick: put a stand-in there if nobody has imported the hub yet.

    Raises:
        KDError: one of our names belongs to somebody else.
    """
    hub = sys.modules.get(HUB)
    if hub is None and quick:
        spec = importlib.util.find_spec(HUB)
        assert spec is not None
        hub = QuickHub(HUB)
        hub.__spec__, hub.__file__, hub.__package__ = spec, spec.origin, "s3prl"
        sys.modules[HUB] = hub
        importlib.import_module("s3prl").hub = hub  # type: ignore[attr-defined]
    elif hub is None:
        hub = importlib.import_module(HUB)
    add_names(hub)
    return hub
