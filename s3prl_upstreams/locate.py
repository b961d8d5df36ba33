"""Turn what follows ``-k`` into a path on this machine."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlparse

from espnet_kd.errors import CheckpointError

ACCEPTED = (
    "our directory (config.json + model.safetensors), a Hugging Face directory, "
    "a published .pth or .pt, or a published .ckpt (its .yaml may follow with -g)"
)
"""What a checkpoint may be, for messages."""


def is_url(place: str) -> bool:
    """Whether ``place`` is an http(s) address."""
    return urlparse(place).scheme in {"http", "https"}


def locate(name: str, place: str | None, *, form: str = "", refresh: bool = False) -> str:
    """Return the local path of a checkpoint or its yaml.

    Args:
        name: upstream name, for messages.
        place: path or URL; a URL goes through S3PRL's own download cache.
        form: ``_local`` and ``_url`` accept only the one or the other.
        refresh: download again what the cache holds.

    Raises:
        CheckpointError: nothing was given, nothing is there, or the wrong form was given.
    """
    if not place:
        raise CheckpointError(
            f"upstream {name!r} needs a checkpoint: -k takes {ACCEPTED}, as a path or a URL "
            "(S3PRLUpstream and ESPnet: path_or_url)."
        )
    place = str(place)
    if is_url(place):
        if form == "_local":
            raise CheckpointError(f"{name!r} takes a path, not the URL {place}; drop '_local'.")
        return _download(place, refresh)
    if form == "_url":
        raise CheckpointError(f"{name!r} takes an http(s) URL, not {place}; drop '_url'.")
    path = Path(place).expanduser()
    if not path.exists():
        raise CheckpointError(f"{path} is not there; upstream {name!r} takes {ACCEPTED}.")
    return str(path)


def _download(url: str, refresh: bool) -> str:
    from s3prl.util.download import _urls_to_filepaths

    try:
        return str(_urls_to_filepaths(url, refresh=refresh))
    except Exception as error:
        raise CheckpointError(f"cannot download {url}: {error}") from error
