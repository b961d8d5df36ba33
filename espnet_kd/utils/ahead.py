"""Values that are computed in a thread while earlier ones are used."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_AHEAD = 2

A = TypeVar("A")
B = TypeVar("B")


def computed_ahead(function: Callable[[A], B], items: Iterable[A]) -> Iterator[tuple[A, B]]:
    """Each item and the function's value of it, computed in a thread while the last is used."""
    waiting: collections.deque[tuple[A, Future[B]]] = collections.deque()
    with ThreadPoolExecutor(max_workers=1) as pool:
        try:
            for item in items:
                waiting.append((item, pool.submit(function, item)))
                if len(waiting) > _AHEAD:
                    first, value = waiting.popleft()
                    yield first, value.result()
            while waiting:
                first, value = waiting.popleft()
                yield first, value.result()
        finally:
            for _, value in waiting:
                value.cancel()
