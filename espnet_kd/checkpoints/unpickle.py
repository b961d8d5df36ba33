"""Published pickles, read only through torch's restricted unpickler and an explicit allow-list.

There is no fallback to full unpickling. Classes that some published files mention are replaced by
inert stand-ins, which hold attributes and can do nothing.
"""

from __future__ import annotations

import argparse
import os
import pickle
import re
from pathlib import Path
from typing import Any

import torch

from espnet_kd.errors import CheckpointError


class InertObject:
    """Stand-in for a class that a pickle names; takes any state and does nothing with it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Accept and ignore whatever the original class would take."""

    def __setstate__(self, state: Any) -> None:
        """Ignore the original object's state."""


# Module paths as they stand in the published files (spec armhubert.md 10 and 6).
ALLOWED_STAND_INS = (
    "s3prl.optimizers.WarmupLinearSchedule",
    "fairseq.data.dictionary.Dictionary",
)


def read_pickle(path: str | os.PathLike[str]) -> Any:
    """The content of a ``.ckpt``, ``.pt``, ``.pth`` or ``.bin`` file, tensors on the CPU.

    Raises:
        CheckpointError: missing, empty, cut short, or naming a class that is not on the allow-list.
    """
    file = Path(path)
    if not file.is_file():
        raise CheckpointError(f"checkpoint {file} does not exist or is not a file; check the path")
    if file.stat().st_size == 0:
        raise CheckpointError(f"checkpoint {file} is empty; fetch or save it again")
    try:
        with torch.serialization.safe_globals(_to_allow()):
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(_refusal(file, error)) from None
    except Exception as error:  # whatever damaged bytes make the reader do
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"checkpoint {file} ({file.stat().st_size:,} bytes) is damaged or cut short: {reason}. "
            "Fetch or save it again."
        ) from None


def _to_allow() -> list[Any]:
    """What is not allowed yet: torch would take away at the end what others had allowed before."""
    known = torch.serialization.get_safe_globals()
    wanted = [argparse.Namespace, *((InertObject, name) for name in ALLOWED_STAND_INS)]
    return [item for item in wanted if item not in known]


def _refusal(file: Path, error: pickle.UnpicklingError) -> str:
    # torch words it differently for classes that it does not know and for modules that it blocks.
    found = re.search(r"GLOBAL ([\w.]+)", str(error))
    if found:
        return (
            f"checkpoint {file} was refused: it wants to load {found[1]}, not on the allow-list. "
            "If you trust the file, export its plain weights with the program that made it."
        )
    return f"checkpoint {file} is not a readable checkpoint or is damaged; fetch or save it again"
