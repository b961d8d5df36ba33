"""A pass of refinement as one compiled loop over vectors (numba), for CPUs.

The same search as :func:`espnet_kd.quantizer.refine.refine_pass`. Only products among the few
centres that survive the first choice are fetched; what follows stays in the caches. numba comes
with ESPnet; without it, or on a GPU, the torch form is used.

Names: N codebooks, K centres of each, R = N K, O kept options, L codebooks of a group.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from espnet_kd.quantizer.centres import Centres
from espnet_kd.quantizer.levels import options_per_level

Array = Any  # numpy arrays in source that numba compiles


def compiled_pass(centres: Centres) -> Callable[[Centres, Tensor, Tensor], Tensor] | None:
    """The compiled pass, or None where it cannot serve these centres."""
    gram_RR = centres.gram_RR
    if gram_RR.device.type != "cpu" or gram_RR.dtype != torch.float32 or _loop() is None:
        return None
    return _run


def _run(centres: Centres, products_BR: Tensor, codes_BN: Tensor) -> Tensor:
    loop = _loop()
    assert loop is not None
    kept = np.array(options_per_level(centres.num_codebooks, centres.codebook_size))
    gram, distance = centres.gram_RR.numpy(), centres.distance_NKK.numpy()
    codes = codes_BN.numpy().copy()
    products = products_BR.contiguous().numpy()
    workers = max(1, min(torch.get_num_threads(), len(codes) // 16))
    if workers == 1:
        loop(gram, distance, products, codes, kept)
    else:
        parts = zip(np.array_split(products, workers), np.array_split(codes, workers), strict=True)
        with ThreadPoolExecutor(workers) as pool:
            # The loop releases Python's lock, and writes into its view of the codes.
            list(pool.map(lambda part: loop(gram, distance, part[0], part[1], kept), parts))
    return torch.from_numpy(codes)


@functools.lru_cache(maxsize=1)
def _loop() -> Callable[..., None] | None:
    """The compiled loop; None without numba."""
    try:
        from numba import njit
        from numba.extending import register_jitable
    except ImportError:
        return None
    for function in (_slopes, _cheapest, _changes, _row_sums, _combine, _merge_level):
        register_jitable(function)
    try:
        compiled: Callable[..., None] = njit(nogil=True, cache=True)(_refine_rows)
    except RuntimeError:  # no folder to keep compiled code in
        compiled = njit(nogil=True)(_refine_rows)
    return compiled


def _refine_rows(gram: Array, distance: Array, products: Array, codes: Array, kept: Array) -> None:
    """Refine ``codes`` (B, N) in place, one pass."""
    books, size = distance.shape[0], distance.shape[1]
    most = kept.max()
    first = min(kept[0], size)
    slope = np.empty(books * size, np.float32)
    cost = np.empty((books, most), np.float32)
    new_cost = np.empty(most, np.float32)
    order = np.empty(most, np.int64)
    candidate = np.empty((books, most), np.int64)
    # Options of each group as places in its codebooks' candidates.
    place = np.zeros((books, most, books), np.int64)
    new_place = np.zeros((most, books), np.int64)
    block = np.empty((books * first, books * first), np.float32)
    sums = np.empty((most, books * first), np.float32)
    for row in range(codes.shape[0]):
        old = codes[row]
        _slopes(gram, products[row], old, size, slope)
        for n in range(books):
            span = slope[n * size : (n + 1) * size]
            _cheapest(span, span[old[n]], distance[n, old[n]], cost[n], candidate[n], first)
            for i in range(first):
                candidate[n, i] += n * size
                place[n, i, 0] = i
        count, length = first, 1
        for level in range(1, kept.shape[0]):
            count = _merge_level(
                gram, old, size, first, count, length, kept[level], books // (2 * length),
                candidate, cost, place, block, sums, new_cost, order, new_place,
            )  # fmt: skip
            length *= 2
        for n in range(books):
            old[n] = candidate[n, place[0, 0, n]] - n * size


def _slopes(gram: Array, products: Array, old: Array, size: int, slope: Array) -> None:
    """Inner products of the present error with all centres."""
    for r in range(slope.shape[0]):
        slope[r] = -products[r]
    for n in range(old.shape[0]):
        source = gram[n * size + old[n]]
        for r in range(slope.shape[0]):
            slope[r] += source[r]


def _cheapest(
    span: Array, at_old: float, distance: Array, cost: Array, chosen: Array, kept: int
) -> None:
    """The ``kept`` cheapest replacements of one centre, by rising cost; first of equals first."""
    filled = 0
    for k in range(span.shape[0]):
        value = np.float32(2) * (span[k] - at_old) + distance[k]
        if filled == kept:
            if value >= cost[kept - 1]:
                continue
            i = kept - 1
        else:
            i = filled
            filled += 1
        while i > 0 and value < cost[i - 1]:
            cost[i] = cost[i - 1]
            chosen[i] = chosen[i - 1]
            i -= 1
        cost[i] = value
        chosen[i] = k


def _merge_level(
    gram: Array, old: Array, size: int, first: int, count: int, length: int, kept: int, pairs: int,
    candidate: Array, cost: Array, place: Array, block: Array, sums: Array,
    new_cost: Array, order: Array, new_place: Array,
) -> int:  # fmt: skip
    """Merge groups 2g and 2g+1 into group g; returns how many options each has now."""
    now = min(kept, count * count)
    for g in range(pairs):
        left, right = 2 * g, 2 * g + 1
        _changes(gram, old, size, first, length, left, candidate, block)
        _row_sums(block, place[left], first, count, length, sums)
        _combine(
            sums, cost[left], cost[right], place[right], first, count, length, new_cost, order, now
        )
        for o in range(now):
            a, b = order[o] // count, order[o] % count
            for p in range(length):
                new_place[o, p] = place[left, a, p]
                new_place[o, length + p] = place[right, b, p]
        cost[g, :now] = new_cost[:now]
        place[g, :now] = new_place[:now]
    return now


def _changes(
    gram: Array, old: Array, size: int, first: int, length: int, left: int,
    candidate: Array, block: Array,
) -> None:  # fmt: skip
    """Inner products of the changes that candidates of both groups make to their codebooks."""
    for p in range(length):
        n = left * length + p
        old_row = gram[n * size + old[n]]
        for i in range(first):
            new_row = gram[candidate[n, i]]
            for q in range(length):
                m = (left + 1) * length + q
                old_m = m * size + old[m]
                base = new_row[old_m] - old_row[old_m]
                for j in range(first):
                    c = candidate[m, j]
                    block[p * first + i, q * first + j] = (new_row[c] - old_row[c]) - base


def _row_sums(block: Array, place: Array, first: int, count: int, length: int, sums: Array) -> None:
    """Rows of the block, summed over the codebooks of each option of the left group."""
    width = length * first
    for a in range(count):
        target = sums[a]
        source = block[place[a, 0]]
        for c in range(width):
            target[c] = source[c]
        for p in range(1, length):
            source = block[p * first + place[a, p]]
            for c in range(width):
                target[c] += source[c]


def _combine(
    sums: Array, left_cost: Array, right_cost: Array, place: Array, first: int, count: int,
    length: int, cost: Array, order: Array, kept: int,
) -> None:  # fmt: skip
    """The ``kept`` cheapest pairs of options, by rising cost; first of equals first."""
    # The insertion stands here and in _cheapest: as a function of its own it made the whole pass
    # take 2.6 times as long (256 x 8 codes).
    filled = 0
    for a in range(count):
        source = sums[a]
        for b in range(count):
            product = np.float32(0)
            for q in range(length):
                product += source[q * first + place[b, q]]
            value = left_cost[a] + right_cost[b] + np.float32(2) * product
            if filled == kept:
                if value >= cost[kept - 1]:
                    continue
                i = kept - 1
            else:
                i = filled
                filled += 1
            while i > 0 and value < cost[i - 1]:
                cost[i] = cost[i - 1]
                order[i] = order[i - 1]
                i -= 1
            cost[i] = value
            order[i] = a * count + b
