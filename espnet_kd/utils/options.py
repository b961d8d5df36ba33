"""From a plain dict (YAML, JSON) to a typed dataclass, with all problems reported at once."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import math
import reprlib
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from espnet_kd.errors import ConfigError, KDError

T = TypeVar("T")

# A few characters of any value, also of one that yaml's aliases let grow without end when printed.
_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxlist, _SHORT.maxdict = 2, 4, 4
short = _SHORT.repr


def from_mapping(cls: type[T], values: Mapping[str, Any], *, subject: str) -> T:
    """Build dataclass ``cls`` from ``values``; nested dataclasses and lists of them are built too.

    Raises:
        ConfigError: unknown keys (with the closest valid names) and wrong types, all listed.
    """
    problems: list[str] = []
    built = _build(cls, values, "", problems)
    if problems:
        raise ConfigError(subject, problems)
    return typing.cast(T, built)


def too_small(owner: object, least: Mapping[str, float], prefix: str = "") -> list[str]:
    """Sentences on attributes of ``owner`` below what they must at least be, NaN included.

    Args:
        owner: options; None is no number, and fine.
        least: attribute -> least number.
        prefix: of the names, such as ``--``.
    """
    values = {name: getattr(owner, name) for name in least}
    return [
        f"{prefix}{name} is {value}; it must be at least {least[name]}"
        for name, value in values.items()
        if value is not None and not value >= least[name]
    ]


@contextlib.contextmanager
def problems_of(subject: str) -> Iterator[None]:
    """Name ``subject`` in every problem of a configuration that the block reads.

    Raises:
        ConfigError: also where values of wrong types made the block itself fail.
    """
    try:
        yield
    except ConfigError as error:
        raise ConfigError(subject, error.problems) from None
    except KDError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error!s:.200}"
        raise ConfigError(subject, [f"its values make no sense ({reason})"]) from None


def unknown_key(key: str, known: typing.Iterable[str]) -> str:
    """A sentence on an unknown key that suggests the closest valid names."""
    close = difflib.get_close_matches(key.rpartition(".")[2], list(known), n=3)
    hint = f"; did you mean {' or '.join(close)}?" if close else ""
    return f"unknown key {key}{hint}"


def _build(cls: Any, values: Any, path: str, problems: list[str]) -> Any:
    if not isinstance(values, Mapping):
        problems.append(
            f"{path or 'the configuration'} must be a mapping of option names to values, not "
            f"{short(values)}"
        )
        return None
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}
    arguments: dict[str, Any] = {}
    before = len(problems)
    for key, value in values.items():
        where = f"{path}.{key}" if path else str(key)
        if key not in fields:
            problems.append(unknown_key(where, fields))
        else:
            arguments[key] = _convert(hints[key], value, where, problems)
    required = {
        name
        for name, f in fields.items()
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    }
    problems.extend(
        f"missing key {path + '.' if path else ''}{name}"
        for name in sorted(required - set(arguments))
    )
    if len(problems) > before:
        return None
    try:
        return cls(**arguments)
    except ConfigError as error:
        problems.extend(f"{path}: {problem}" if path else problem for problem in error.problems)
        return None


def _convert(hint: Any, value: Any, where: str, problems: list[str]) -> Any:
    """``value`` as type ``hint``, int to float, list to tuple; anything else is a problem."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(hint, value, where, problems)
    if origin in (list, tuple):
        return _convert_sequence(hint, value, where, problems)
    if origin is dict:
        hint = dict
    if dataclasses.is_dataclass(hint):
        if isinstance(value, typing.cast(type, hint)):
            return value
        return _build(hint, value, where, problems)
    return value if hint is Any else _convert_scalar(hint, value, where, problems)


def _convert_scalar(hint: Any, value: Any, where: str, problems: list[str]) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, float) and math.isnan(value):  # which slips through comparisons
        problems.append(f"{where} is nan; a number is needed")
        return value
    if hint is float and isinstance(value, str) and is_number(value):
        return float(value)  # YAML 1.1 reads 5e-3 as a string
    if (isinstance(value, bool) and hint is not bool) or not isinstance(value, hint):
        problems.append(
            f"{where} is {short(value)} ({type(value).__name__}); expected "
            f"{getattr(hint, '__name__', hint)}"
        )
    return value


def is_number(text: str) -> bool:
    """Whether ``text`` is a number as Python writes it, and not NaN."""
    try:
        return not math.isnan(float(text))
    except ValueError:
        return False


def _convert_union(hint: Any, value: Any, where: str, problems: list[str]) -> Any:
    members = typing.get_args(hint)
    if value is None and type(None) in members:
        return None
    attempts: list[list[str]] = []
    for member in members:
        if member is type(None):
            continue
        attempt: list[str] = []
        converted = _convert(member, value, where, attempt)
        if not attempt:
            return converted
        attempts.append(attempt)
    problems.extend(attempts[0])
    return value


def _convert_sequence(hint: Any, value: Any, where: str, problems: list[str]) -> Any:
    if not isinstance(value, (list, tuple)):
        problems.append(f"{where} is {short(value)}; expected a list")
        return value
    item = typing.get_args(hint)[0]
    items = [_convert(item, entry, f"{where}[{i}]", problems) for i, entry in enumerate(value)]
    return tuple(items) if typing.get_origin(hint) is tuple else items
