"""Experiments that were moved, or go on in another folder.

S3PRL writes where its checkpoint says that it was made: on another machine that folder is made
anew, or cannot be, and ``-p`` is not listened to.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from espnet_kd.checkpoints.unpickle import read_pickle
from s3prl_upstreams.saves import Instead


def torch_that_loads_for(folder: Path) -> ModuleType | Instead:
    """Return torch as S3PRL's command line sees it: checkpoints name ``folder`` as theirs."""

    def load(path: str, map_location: str = "cpu") -> Any:
        assert map_location == "cpu"
        states = read_pickle(Path(path))
        stored = states.get("Args") if isinstance(states, Mapping) else None
        if isinstance(stored, Namespace):
            stored.expdir = str(folder)
        return states

    return Instead(torch, load=load)
