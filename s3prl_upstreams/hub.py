"""The names that S3PRL sees, in one table, and the functions behind them.

S3PRL knows an upstream when it is an attribute of ``s3prl.hub``. Each name comes in S3PRL's four
forms: ``armhubert`` and ``armhubert_custom`` take a path or a URL, ``armhubert_local`` a path,
``armhubert_url`` a URL.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from espnet_kd.errors import KDError
from espnet_kd.utils.after_import import after_import

if TYPE_CHECKING:
    from s3prl_upstreams.expert import UpstreamExpert

HUB = "s3prl.hub"

UPSTREAMS: dict[str, str] = {
    "armhubert": "ARMHuBERT and ARMHuBERT-S: masking distillation with attention map reuse",
    "maskhubert": "MaskHuBERT: masking distillation, every layer with its own attention map",
    "starhubert": "STaRHuBERT and STaRHuBERT-L: distillation of temporal relations",
    "armwavlm": "ARMwavLM-S: ARMHuBERT-S distilled from WavLM Base+",
    "dphubert": "DPHuBERT: HuBERT or wav2vec 2.0, distilled and pruned at once",
    "dpwavlm": "DPWavLM: the same of WavLM",
    "kd_student": "any encoder that espnet_kd.load_model reads",
}
"""Base name -> what it is for. The checkpoint, not the name, decides what is built."""

DEFAULTS: dict[str, dict[str, str]] = {
    name: {"hidden_states": "features"} for name in ("dphubert", "dpwavlm")
}
"""Options of some names that callers may change: DPHuBERT's features start before the positional
convolution, also those of a model that was pruned from a teacher with other habits."""

SUFFIXES: tuple[str, ...] = ("", "_local", "_url", "_custom")
"""S3PRL's forms of a name: path or URL, path only, URL only, path or URL."""

OPTIONS: dict[str, Any] = {}
"""Options of all our upstreams in this process, as S3PRL's runner has no place for them."""

Entry = Callable[..., "UpstreamExpert"]


def names() -> tuple[str, ...]:
    """Return every name that :func:`register` puts into ``s3prl.hub``."""
    return tuple(_ENTRIES)


def register(hub: ModuleType | None = None) -> None:
    """Make our names attributes of ``s3prl.hub``; repeated calls change nothing.

    Args:
        hub: the module to fill. By default ``s3prl.hub`` itself, at once where it is imported
            already, else at the moment somebody imports it (it takes many seconds).

    Raises:
        KDError: a name belongs to another module already; nothing is changed then. When the hub
            is imported later, the message goes to stderr instead: others' imports never break.
    """
    present = hub or sys.modules.get(HUB)
    if present is not None:
        add_names(present)
    elif not _state["waiting"]:
        _state["waiting"] = True
        after_import(HUB, _add_names_quietly)


def add_names(hub: ModuleType) -> None:
    """Set our entries as attributes of ``hub``, all of them or none.

    Raises:
        KDError: names both owners of a name.
    """
    for name in _ENTRIES:
        holder = getattr(hub, "__dict__", {}).get(name)
        owner = getattr(holder, "__module__", None)
        if holder is not None and owner != __name__:
            raise KDError(
                f"the upstream name {name!r} in {hub.__name__} belongs to module {owner}; "
                f"{__name__} does not replace it. Remove that registration or that copy of the "
                "upstream (for example an armhubert folder copied into S3PRL)."
            )
    for name, entry in _ENTRIES.items():
        setattr(hub, name, entry)


def _add_names_quietly(hub: ModuleType) -> None:
    _state["waiting"] = False
    try:
        add_names(hub)
    except Exception as error:
        print(f"[espnet_kd] our upstreams are not registered: {error}", file=sys.stderr)


def _make_entry(name: str, suffix: str) -> Entry:
    def entry(
        ckpt: str | None = None,
        model_config: str | None = None,
        refresh: bool = False,
        **kwargs: Any,
    ) -> UpstreamExpert:
        from s3prl_upstreams.expert import UpstreamExpert
        from s3prl_upstreams.locate import locate

        path = locate(name + suffix, ckpt, form=suffix, refresh=refresh)
        config = None if model_config is None else locate("-g", model_config, refresh=refresh)
        return UpstreamExpert(path, config, **{**DEFAULTS.get(name, {}), **OPTIONS, **kwargs})

    entry.__name__ = entry.__qualname__ = name + suffix
    entry.__module__ = __name__
    entry.__doc__ = f"""{UPSTREAMS[name]}.

    Args:
        ckpt: {_ACCEPTS[suffix]} (S3PRL's ``-k`` or ``path_or_url``).
        model_config: yaml of a published ``.ckpt`` (S3PRL's ``-g``); not needed.
        refresh: download a URL again.
        **kwargs: see :class:`s3prl_upstreams.expert.UpstreamExpert`.
    """
    return entry


_ACCEPTS = dict.fromkeys(SUFFIXES, "a checkpoint's path or URL")
_ACCEPTS.update(_local="a checkpoint's path", _url="a checkpoint's URL")
_ENTRIES: dict[str, Entry] = {
    name + suffix: _make_entry(name, suffix) for name in UPSTREAMS for suffix in SUFFIXES
}
_state = {"waiting": False}
