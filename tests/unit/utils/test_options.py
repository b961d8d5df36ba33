"""From plain dicts to dataclasses, with all problems at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from espnet_kd.errors import CheckpointError, ConfigError
from espnet_kd.utils.options import from_mapping, problems_of, too_small, unknown_key


@dataclass(kw_only=True)
class Inner:
    size: int = 1
    name: str = "x"

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ConfigError("inner", ["size is negative", "really"])


@dataclass(kw_only=True)
class Outer:
    needed: int
    rate: float = 1.0
    flag: bool = False
    maybe: int | None = None
    either: int | str = 0
    numbers: list[int] = field(default_factory=list)
    pair: tuple[float, ...] = (0.0,)
    inner: Inner = field(default_factory=Inner)
    inners: list[Inner] = field(default_factory=list)
    anything: Any = None
    table: dict[str, int] = field(default_factory=dict)
    derived: int = field(default=3, init=False)


def _problems(values: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        from_mapping(Outer, values, subject="the options")
    assert str(caught.value).startswith("the options: ")
    return caught.value.problems


def test_everything_that_fits() -> None:
    built = from_mapping(
        Outer,
        {
            "needed": 2,
            "rate": 3,
            "maybe": None,
            "either": "a",
            "numbers": (1, 2),
            "pair": [1, 2],
            "inner": {"size": 4},
            "inners": [{"size": 5}, Inner(size=6)],
            "anything": object,
            "table": {"a": 1},
        },
        subject="x",
    )
    assert built == Outer(
        needed=2,
        rate=3.0,
        either="a",
        numbers=[1, 2],
        pair=(1.0, 2.0),
        inner=Inner(size=4),
        inners=[Inner(size=5), Inner(size=6)],
        anything=object,
        table={"a": 1},
    )
    assert isinstance(built.rate, float)
    assert from_mapping(Outer, {"needed": 1, "rate": "5e-3"}, subject="x").rate == 0.005


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([1], "must be a mapping of option names to values, not [1]"),
        (None, "not None"),
        ({}, "missing key needed"),
        ({"needed": True}, "needed is True (bool); expected int"),
        ({"needed": 1.5}, "needed is 1.5 (float)"),
        ({"needed": 1, "rate": "fast"}, "rate is 'fast' (str)"),
        ({"needed": 1, "rate": False}, "rate is False"),
        ({"needed": 1, "flag": "yes"}, "flag is 'yes'"),
        ({"needed": 1, "maybe": "a"}, "maybe is 'a'"),
        ({"needed": 1, "either": 1.5}, "either is 1.5"),
        ({"needed": 1, "numbers": 3}, "numbers is 3; expected a list"),
        ({"needed": 1, "numbers": "abc"}, "numbers is 'abc'; expected a list"),
        ({"needed": 1, "numbers": [1, "b"]}, "numbers[1] is 'b'"),
        ({"needed": 1, "inner": 3}, "inner must be a mapping"),
        ({"needed": 1, "inner": {"sise": 3}}, "unknown key inner.sise; did you mean size?"),
        ({"needed": 1, "inner": {"size": -1}}, "inner: size is negative"),
        ({"needed": 1, "inners": [{}, {"name": 3}]}, "inners[1].name is 3"),
        ({"needed": 1, "table": []}, "table is [] (list)"),
        ({"needed": 1, "derived": 3}, "unknown key derived"),
    ],
    ids=str,
)
def test_problems_name_the_key(values: Any, said: str) -> None:
    assert any(said in problem for problem in _problems(values)), _problems(values)


def test_all_problems_at_once() -> None:
    values = {"neded": 1, "rate": "x", "inner": {"size": "y", "other": 1}, "numbers": [None, 1.5]}
    assert len(_problems(values)) == 7  # the missing `needed` too


def test_numbers_that_are_too_small() -> None:
    options = SimpleNamespace(a=1, b=0, c=None, d=float("nan"))
    least = {"a": 1, "b": 1, "c": 1, "d": 0}
    assert too_small(options, least, "--") == [
        "--b is 0; it must be at least 1",
        "--d is nan; it must be at least 0",
    ]
    assert too_small(options, {"a": 1, "b": 0}) == []


def test_long_values_are_shortened() -> None:
    (problem,) = _problems({"needed": "x" * 10_000})
    assert len(problem) < 200
    (problem,) = _problems({"needed": 1, "inner": list(range(10_000))})
    assert len(problem) < 200


def test_suggestions() -> None:
    assert unknown_key("a.drop", ["dropout", "drop_in", "x"]).startswith("unknown key a.drop; did")
    assert unknown_key("zzz", ["dropout"]) == "unknown key zzz"


@pytest.mark.parametrize(
    "error", [KeyError("a"), TypeError("b"), ZeroDivisionError(), AttributeError("c"), ValueError()]
)
def test_problems_of_a_file(error: Exception) -> None:
    with pytest.raises(ConfigError, match=rf"the file: .*(.|\n)*{type(error).__name__}"):  # noqa: SIM117
        with problems_of("the file"):
            raise error


def test_problems_of_a_file_keep_our_own_errors() -> None:
    with pytest.raises(ConfigError, match="the file: 2 problem"), problems_of("the file"):
        raise ConfigError("encoder", ["a", "b"])
    with pytest.raises(CheckpointError, match="^damaged$"), problems_of("the file"):
        raise CheckpointError("damaged")
    with pytest.raises(KeyboardInterrupt), problems_of("the file"):
        raise KeyboardInterrupt
