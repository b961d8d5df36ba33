"""Whether devices are there, asked before anything is loaded for them."""

from __future__ import annotations

import torch

from espnet_kd.errors import KDError


def gpu_count() -> int:
    """GPUs that torch can use."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def check_gpus(ngpu: int) -> None:
    """Refuse GPUs that are not there.

    Raises:
        KDError: there are fewer.
    """
    found = gpu_count()
    if ngpu > found:
        raise KDError(f"--ngpu {ngpu}, but torch sees {found} GPU(s); lower it (0 = CPU)")


def check_device(text: str) -> None:
    """Refuse a device that is not there, before anything is loaded for it.

    Args:
        text: as torch names it: ``cpu``, ``cuda``, ``cuda:1``.

    Raises:
        KDError: torch knows no such device, or does not find it here.
    """
    try:
        device = torch.device(text)
    except RuntimeError:
        raise KDError(f"--device {text} is no device; give cpu, cuda or cuda:NUMBER") from None
    found = gpu_count()
    if device.type == "cuda" and (device.index or 0) >= found:
        raise KDError(f"--device {text}, but torch sees {found} GPU(s); take cpu, or another GPU")
    try:
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise KDError(f"--device {text} cannot be used ({reason}); take cpu") from None
