"""All mistakes of a configuration at once, before anything is built or written.

ESPnet stops at the first unknown key and takes values of any type. Here every unknown key is listed
with the closest valid names, and every value is tried against its option.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import yaml

from espnet_kd.errors import ConfigError
from espnet_kd.utils.options import unknown_key


class _UniqueKeyLoader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice (plain YAML keeps the last one in silence)."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise ConfigError(
                    f"{node.start_mark.name}",
                    [f"line {key_node.start_mark.line + 1}: {key} is given twice"],
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def read_yaml(path: str) -> dict[str, Any]:
    """Read a configuration file (no tags, no duplicate keys).

    Raises:
        ConfigError: it is missing, not YAML, or not a mapping.
    """
    try:
        with open(path, encoding="utf-8") as stream:
            values = _UniqueKeyLoader(stream).get_single_data()
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(path, [" ".join(str(error).split())]) from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(path, ["must be a mapping of option names to values"])
    return values


def parse(
    parser: argparse.ArgumentParser, cmd: Sequence[str] | None
) -> tuple[argparse.Namespace, list[str]]:
    """Parse command line and ``--config``.

    Returns:
        The options, and all problems found at their top level (unknown keys and options, values
        that
        the option does not accept).
    """
    words = list(sys.argv[1:] if cmd is None else cmd)
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--config")
    found, rest = finder.parse_known_args(words)
    actions = {action.dest: action for action in parser._actions}
    problems: list[str] = []
    if found.config is not None:
        usable = {}
        for key, value in read_yaml(found.config).items():
            if key not in actions or key in ("help", "config", "print_config"):
                problems.append(unknown_key(str(key), actions))
                continue
            wrong = _value_problems(actions[key], value)
            problems += wrong
            if not wrong:
                usable[key] = value
        parser.set_defaults(**usable)
    # ESPnet's parser would read --config again and stop at its first problem.
    args, extra = argparse.ArgumentParser.parse_known_args(parser, rest)
    args.config = found.config
    options = [word.partition("=")[0].lstrip("-") for word in extra if word.startswith("--")]
    problems += [unknown_key(option, actions) for option in options]
    if extra and not options:
        problems.append(f"not understood on the command line: {' '.join(extra)}")
    return args, problems


def _value_problems(action: argparse.Action, value: Any) -> list[str]:
    """Whether a YAML value could have been given on the command line."""
    if _takes_mapping(action) and not isinstance(value, Mapping):
        return [f"{action.dest} is {value!r}; a mapping of names to values is needed"]
    plain = action.type is None and action.choices is None
    if value is None or plain or isinstance(value, (list, tuple)):
        return []
    if isinstance(value, Mapping):
        return [f"{action.dest} is a mapping; a single value is needed"]
    convert = action.type if callable(action.type) else str
    try:
        converted = convert(str(value))
    except (ValueError, TypeError, argparse.ArgumentTypeError) as error:
        return [f"{action.dest} is {value!r}: {error}"]
    if action.choices is not None and converted not in action.choices:
        allowed = ", ".join(str(choice) for choice in action.choices)
        return [f"{action.dest} is {value!r}; choose one of {allowed}"]
    return []


def _takes_mapping(action: argparse.Action) -> bool:
    return type(action).__name__ == "NestedDictAction" and isinstance(action.default, dict)


def keyword_problems(name: str, target: type, values: Any, given: Sequence[str]) -> list[str]:
    """Unknown keywords, and words for numbers, for a class built with ``target(..., **values)``.

    Args:
        name: the option, e.g. ``optim_conf``.
        target: the class.
        values: what the user wrote.
        given: parameters that the caller supplies.
    """
    if not isinstance(values, Mapping):
        return []
    parameters = inspect.signature(target).parameters
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return []
    known = [key for key in parameters if key not in given]
    problems = [
        f"{unknown_key(f'{name}.{key}', known)} (known: {', '.join(known)})"
        for key in values
        if key not in known
    ]
    return problems + [
        f"{name}.{key} is {values[key]!r}; a number is needed"
        for key in known
        if isinstance(values.get(key), str) and _wants_number(parameters[key])
    ]


def _wants_number(parameter: inspect.Parameter) -> bool:
    default = parameter.default
    is_number = isinstance(default, (int, float)) and not isinstance(default, bool)
    return is_number or "float" in str(parameter.annotation)
