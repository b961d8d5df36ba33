"""Where the files that travel with the package lie, in a checkout and in a wheel."""

from __future__ import annotations

from pathlib import Path

from espnet_kd.errors import KDError

_PACKAGE = Path(__file__).resolve().parents[1]


def conf_dir() -> Path:
    """Return the folder of experiment files (``armhubert/``, ``superb/`` ...).

    A wheel carries it inside the package; a checkout or an editable install has it beside
    the package, at the root of the repository.

    Raises:
        KDError: neither place has it (the installation is incomplete).
    """
    beside = _PACKAGE.parent / "conf"
    if (_PACKAGE.parent / "setup.py").is_file() and beside.is_dir():
        return beside
    inside = _PACKAGE / "conf"
    if inside.is_dir():
        return inside
    raise KDError(
        f"no experiment files: neither {inside} nor {beside} is there. "
        "Install espnet_kd from a wheel or a complete checkout."
    )
