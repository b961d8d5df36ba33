"""Run a function once a module has been imported, whenever and by whomever that happens.

ESPnet takes 20 CPU seconds to import and S3PRL's hub as long. Names are added to their tables
this way without importing either, and in whatever order a program imports them and us.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

Callback = Callable[[ModuleType], None]


def after_import(name: str, callback: Callback) -> None:
    """Call ``callback(module)`` now if module ``name`` is imported already, else right after it
    is.
    """
    module = sys.modules.get(name)
    if module is not None and not _is_loading(module):
        callback(module)
        return
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)
    _FINDER.callbacks.setdefault(name, []).append(callback)


def _is_loading(module: ModuleType) -> bool:
    return bool(getattr(getattr(module, "__spec__", None), "_initializing", False))


class _AfterImportFinder(MetaPathFinder):
    """Finds nothing itself: it lets the others find, and hooks the end of the module's
    execution.
    """

    def __init__(self) -> None:
        self.callbacks: dict[str, list[Callback]] = {}
        self.searching: set[str] = set()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the ordinary spec of a module that somebody waits for, None for all others."""
        if fullname not in self.callbacks or fullname in self.searching:
            return None
        self.searching.add(fullname)
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self.searching.discard(fullname)
        if spec is not None and spec.loader is not None:
            self._hook(fullname, spec)
        return spec

    def _hook(self, name: str, spec: ModuleSpec) -> None:
        loader = spec.loader
        assert loader is not None
        execute = loader.exec_module

        def execute_then_call(module: ModuleType) -> None:
            execute(module)
            for callback in self.callbacks.pop(name, []):
                callback(module)
            # Nothing left to wait for: take no further part in anybody's imports.
            if not self.callbacks and self in sys.meta_path:
                sys.meta_path.remove(self)

        # On the instance: the module keeps its own loader (source lookup, resources).
        loader.exec_module = execute_then_call  # type: ignore[method-assign]


_FINDER = _AfterImportFinder()
