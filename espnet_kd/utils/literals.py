"""Option strings that hold lists, such as ``[(512,10,5)] + [(512,3,2)] * 4``, without eval."""

from __future__ import annotations

import ast
from typing import Any

from espnet_kd.errors import ConfigError

_MAX_ITEMS = 10_000


def parse_literal(text: Any) -> Any:
    """The value of a literal, lists joined with ``+`` and repeated with ``*``; others pass through.

    Raises:
        ConfigError: anything but literals, ``+`` and ``*``.
    """
    if not isinstance(text, str):
        return text
    try:
        return _value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        raise ConfigError(
            f"option value {text[:200]!r}", [f"not a list of literals: {error}"]
        ) from None


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _value(node.left), _value(node.right)
        if not isinstance(left, (list, tuple)) or len(left) + len(right) > _MAX_ITEMS:
            raise ValueError("only short lists may be joined")
        return left + right
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        left, right = _value(node.left), _value(node.right)
        count, items = (left, right) if isinstance(left, int) else (right, left)
        if not isinstance(count, int) or not isinstance(items, (list, tuple)):
            raise ValueError("only a list may be repeated")
        if count * len(items) > _MAX_ITEMS:
            raise ValueError("a list may only be repeated a small number of times")
        return items * count
    if isinstance(node, (ast.List, ast.Tuple)):
        items = [_value(item) for item in node.elts]
        return items if isinstance(node, ast.List) else tuple(items)
    return ast.literal_eval(node)
