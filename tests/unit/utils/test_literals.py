"""Published option strings are read without eval."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espnet_kd.errors import ConfigError
from espnet_kd.utils.literals import parse_literal


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (
            "[(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] * 2",
            [(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512, 2, 2)] * 2,
        ),
        ("[True, False] * 6", [True, False] * 6),
        ("2 * [1]", [1, 1]),
        (" [11] ", [11]),
        ("(1, 2) + (3,)", (1, 2, 3)),
        ("[[1] * 2] * 2", [[1, 1], [1, 1]]),
        ("[]", []),
        ("[0.5, -1, 'a', None]", [0.5, -1, "a", None]),
        ("3", 3),
        ("{'a': 1}", {"a": 1}),
    ],
)
def test_published_strings(text: str, value: object) -> None:
    assert parse_literal(text) == value


@pytest.mark.parametrize("value", [[1, 2], 3, None, {"a": 1}, (1,), 0.5, True])
def test_other_values_pass(value: object) -> None:
    assert parse_literal(value) is value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "[x]",
        "f()",
        "__import__('os').system('true')",
        "[1][0]",
        "[i for i in range(9)]",
        "lambda: 0",
        "'a'.join(['b'])",
        "[1] - [2]",
        "[1] @ [2]",
        "[1] ** 2",
        "2 ** 99999",
        "9 * 9",
        "'a' * 3",
        "'a' + 'b'",
        "1 + 2",
        "[1] + (2,)",
        "[1] + 2",
        "[1] * [2]",
        "[1] * 1.5",
        "[1] * 10001",
        "(1,) * 1000000000000",
        "'a' * 1000000000000",
        "([1] * 10000) + [2]",
        "1 if True else 2",
        "[1",
        "1; 2",
        "\0",
        "(" * 500 + ")" * 500,
        "-" * 200_000 + "1",
        "[*[1]]",
        "f'{1}'",
        "{**{}}",
        "{[]: 1}",
    ],
    ids=lambda text: text[:30],
)
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="not a list of literals") as caught:
        parse_literal(text)
    assert len(str(caught.value)) < 1000


def test_nothing_is_called(tmp_path: Path) -> None:
    canary = tmp_path / "CANARY"
    with pytest.raises(ConfigError):
        parse_literal(f"[open({str(canary)!r}, 'w')] * 2")
    assert not canary.exists()


@given(st.lists(st.tuples(st.integers(), st.integers()) | st.booleans() | st.none(), max_size=9))
def test_lists_come_back(value: list) -> None:
    assert parse_literal(str(value)) == value


@given(st.text(max_size=40))
def test_random_text_gives_a_value_or_our_error(text: str) -> None:
    with contextlib.suppress(ConfigError):
        parse_literal(text)
