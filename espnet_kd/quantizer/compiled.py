"""Refinement as one compiled loop over vectors (numba), for CPUs.

The same search as :func:`espnet_kd.quantizer.refine.refine_pass`, all passes of a vector before the
next one: what it fetched of the inner products is still in the caches. Time goes into fetching, so
a merge fetches products of those centres only that the options of its groups still use, and from
pass to pass the slopes are brought up to date instead of summed anew. numba comes with ESPnet;
without it, or on a GPU, the torch form is used.

Names: N codebooks, K centres of each, R = N K, O kept options, L codebooks of a group, C kept
centres of a codebook, S = N C slots (the kept centres of all codebooks of a group in a row).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from espnet_kd.quantizer.centres import Centres
from espnet_kd.quantizer.levels import options_per_level, powers_of_two

Array = Any  # numpy arrays in source that numba compiles


class _Work(NamedTuple):
    """Room for the search of one vector, made once."""

    slope: Array
    """Inner products (R,) of the present error with all centres."""
    centre: Array
    """Kept centres (N, C) of each codebook, numbers 0 ... R-1."""
    used: Array
    """How many (N,) of them are left."""
    cost: Array
    """Costs (N, O) of each group's options, rising."""
    option: Array
    """The options (N, O, N): which of its kept centres each codebook of the group has."""
    block: Array
    """Products (S, S) of the changes of a right and a left group."""
    sums: Array
    """The same (S, O), summed over the centres of each option of the right group."""
    value: Array
    """Costs of all combinations of two groups, or of all centres of a codebook."""
    new_cost: Array
    order: Array
    new_option: Array
    renumbered: Array


def _work(number: int, size: int, kept: Array) -> _Work:
    most, first = int(kept.max()), int(min(kept[0], size))
    slots = number * first
    return _Work(
        slope=np.empty(number * size, np.float32),
        centre=np.empty((number, first), np.int64),
        used=np.empty(number, np.int64),
        cost=np.empty((number, most), np.float32),
        option=np.zeros((number, most, number), np.uint8),
        block=np.empty((slots, slots), np.float32),
        sums=np.empty((slots, most), np.float32),
        value=np.empty(max(most * most, size, slots), np.float32),
        new_cost=np.empty(most, np.float32),
        order=np.empty(max(most, first), np.int64),
        new_option=np.zeros((most, number), np.uint8),
        renumbered=np.empty((2, first), np.int64),
    )


def compiled_search(
    centres: Centres,
) -> Callable[[Centres, Tensor, Tensor, int, bool], Tensor] | None:
    """The compiled search, or None where it cannot serve these centres."""
    gram_RR = centres.gram_RR
    if gram_RR.device.type != "cpu" or gram_RR.dtype != torch.float32 or _loop() is None:
        return None
    if len(powers_of_two(centres.num_codebooks)) > 1:
        return None
    return _run


def _run(
    centres: Centres, products_BR: Tensor, codes_BN: Tensor, iters: int, keep_best: bool
) -> Tensor:
    loop = _loop()
    assert loop is not None
    number, size = centres.num_codebooks, centres.codebook_size
    kept = np.array(options_per_level(number, size))
    gram, distance = centres.gram_RR.numpy(), centres.distance_NKK.numpy()
    codes = codes_BN.numpy().copy()
    products = products_BR.contiguous().numpy()

    def refine(part: tuple[Array, Array]) -> None:
        # The loop releases Python's lock, and writes into its view of the codes.
        loop(gram, distance, *part, kept, iters, keep_best, _work(number, size, kept))

    workers = max(1, min(torch.get_num_threads(), len(codes) // 16))
    if workers == 1:
        refine((products, codes))
    else:
        parts = zip(np.array_split(products, workers), np.array_split(codes, workers), strict=True)
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(refine, parts))
    return torch.from_numpy(codes)


@functools.lru_cache(maxsize=1)
def _loop() -> Callable[..., None] | None:
    """The compiled loop; None without numba."""
    try:
        from numba import njit
        from numba.extending import register_jitable
    except ImportError:
        return None
    functions = (
        _start, _take_over, _search, _replacements, _merge, _fetch, _sum_right, _combine, _cheapest,
        _join, _drop_unused,
    )  # fmt: skip
    for function in functions:
        register_jitable(function)
    try:
        compiled: Callable[..., None] = njit(nogil=True, cache=True)(_refine_rows)
    except RuntimeError:  # no folder to keep compiled code in
        compiled = njit(nogil=True)(_refine_rows)
    return compiled


def _refine_rows(
    gram: Array, distance: Array, products: Array, codes: Array, kept: Array, iters: int,
    keep_best: bool, work: _Work,
) -> None:  # fmt: skip
    """Refine ``codes`` (B, N) in place."""
    size = distance.shape[1]
    for row in range(codes.shape[0]):
        codes_N = codes[row]
        best_N = codes_N.copy()
        _start(gram, products[row], codes_N, size, work.slope)
        error = least = 0.0
        for left in range(iters - 1, -1, -1):
            error += _search(gram, distance, codes_N, kept, work)
            if not _take_over(gram, codes_N, size, left, work):
                break
            if error < least:
                least = error
                best_N[:] = codes_N
        if keep_best:
            codes_N[:] = best_N


def _start(gram: Array, products: Array, codes: Array, size: int, slope: Array) -> None:
    """Inner products of the error with all centres."""
    for r in range(slope.shape[0]):
        slope[r] = -products[r]
    for n in range(codes.shape[0]):
        source = gram[n * size + codes[n]]
        for r in range(slope.shape[0]):
            slope[r] += source[r]


def _take_over(gram: Array, codes: Array, size: int, passes_left: int, work: _Work) -> bool:
    """Set the codes to the option found; whether any has changed."""
    changed = False
    for n in range(codes.shape[0]):
        new = work.centre[n, work.option[0, 0, n]]
        old = n * size + codes[n]
        if new != old:
            changed = True
            codes[n] = new - n * size
            if passes_left > 0:
                come, go = gram[new], gram[old]
                for r in range(work.slope.shape[0]):
                    work.slope[r] += come[r] - go[r]
    return changed


def _search(gram: Array, distance: Array, codes: Array, kept: Array, work: _Work) -> float:
    """One pass: the best option is then option 0 of group 0; returns by what the error grows."""
    books = codes.shape[0]
    count = min(kept[0], distance.shape[1])
    for n in range(books):
        _replacements(distance, codes, n, count, work)
    length = 1
    for level in range(1, kept.shape[0]):
        now = min(kept[level], count * count)
        for g in range(books // (2 * length)):
            _merge(gram, codes, distance.shape[1], g, length, count, now, work)
        count, length = now, 2 * length
    growth: float = work.cost[0, 0]
    return growth


def _replacements(distance: Array, codes: Array, n: int, kept: int, work: _Work) -> None:
    """The options of one codebook alone: its cheapest replacements."""
    size = distance.shape[1]
    slope = work.slope[n * size : (n + 1) * size]
    apart = distance[n, codes[n]]
    at_old = slope[codes[n]]
    for k in range(size):
        work.value[k] = np.float32(2) * (slope[k] - at_old) + apart[k]
    _cheapest(work.value[:size], kept, work.cost[n], work.order)
    work.used[n] = kept
    for i in range(kept):
        work.centre[n, i] = n * size + work.order[i]
        work.option[n, i, 0] = i


def _merge(
    gram: Array, codes: Array, size: int, g: int, length: int, count: int, kept: int, work: _Work
) -> None:
    """Merge groups 2g and 2g+1, of so many codebooks and options, into group g."""
    left = 2 * g
    _fetch(gram, codes, size, left * length, length, work)
    _sum_right(left * length, length, work.option[left + 1], count, work)
    _combine(left, length, count, work)
    _cheapest(work.value[: count * count], kept, work.new_cost, work.order)
    work.cost[g, :kept] = work.new_cost[:kept]
    _join(left, length, count, kept, work)
    _drop_unused(left * length, 2 * length, work.option[g], kept, work)


def _fetch(gram: Array, codes: Array, size: int, start: int, length: int, work: _Work) -> None:
    """Inner products of the changes that kept centres of both groups make to their codebooks."""
    middle = start + length
    row = 0
    for m in range(middle, middle + length):
        old = gram[m * size + codes[m]]
        for j in range(work.used[m]):
            new = gram[work.centre[m, j]]
            target = work.block[row]
            column = 0
            for n in range(start, middle):
                at_old = n * size + codes[n]
                base = new[at_old] - old[at_old]
                for i in range(work.used[n]):
                    r = work.centre[n, i]
                    target[column] = (new[r] - old[r]) - base
                    column += 1
            row += 1


def _sum_right(start: int, length: int, option: Array, count: int, work: _Work) -> None:
    """Sum the fetched products over the codebooks of each option of the right group."""
    width = 0
    for n in range(start, start + length):
        width += work.used[n]
    line = work.value
    for b in range(count):
        line[:width] = 0
        first = 0
        for q in range(length):
            source = work.block[first + option[b, q]]
            for c in range(width):
                line[c] += source[c]
            first += work.used[start + length + q]
        for c in range(width):
            work.sums[c, b] = line[c]


def _combine(left: int, length: int, count: int, work: _Work) -> None:
    """Costs of all pairs of options; the right group's varies faster."""
    right_cost = work.cost[left + 1]
    for a in range(count):
        line = work.value[a * count : (a + 1) * count]
        line[:] = 0
        first = 0
        for p in range(length):
            source = work.sums[first + work.option[left, a, p]]
            for b in range(count):
                line[b] += source[b]
            first += work.used[left * length + p]
        at_left = work.cost[left, a]
        for b in range(count):
            line[b] = at_left + right_cost[b] + np.float32(2) * line[b]


def _cheapest(value: Array, kept: int, cost: Array, order: Array) -> None:
    """The ``kept`` least values and their places, rising; first of equals first."""
    filled = 0
    for k in range(value.shape[0]):
        new = value[k]
        if filled < kept:
            i = filled
            filled += 1
        elif new < cost[kept - 1]:
            i = kept - 1
        else:
            continue
        while i > 0 and new < cost[i - 1]:
            cost[i] = cost[i - 1]
            order[i] = order[i - 1]
            i -= 1
        cost[i] = new
        order[i] = k


def _join(left: int, length: int, count: int, kept: int, work: _Work) -> None:
    """The kept pairs of options as options of one group."""
    for o in range(kept):
        a, b = work.order[o] // count, work.order[o] % count
        for p in range(length):
            work.new_option[o, p] = work.option[left, a, p]
            work.new_option[o, length + p] = work.option[left + 1, b, p]


def _drop_unused(start: int, length: int, option: Array, kept: int, work: _Work) -> None:
    """Write the group's options, with centres that none of them has taken off the lists."""
    number, centre = work.renumbered[0], work.renumbered[1]
    for p in range(length):
        n = start + p
        number[:] = -1
        centre[:] = work.centre[n]
        filled = 0
        for o in range(kept):
            i = work.new_option[o, p]
            if number[i] < 0:
                number[i] = filled
                work.centre[n, filled] = centre[i]
                filled += 1
            option[o, p] = number[i]
        work.used[n] = filled
