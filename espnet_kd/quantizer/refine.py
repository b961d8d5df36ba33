"""Refinement of codes, as published with the quantiser (arXiv 2211.00508, its package's procedure).

One pass looks for a better choice of all N codes of a vector: for each codebook the best few
replacements of its centre, all else unchanged; then pairs of codebooks are merged and the best few
combinations kept, until one group of all codebooks and its best combination are left. Costs are
relative to the vector's choice before the pass, so a pass may also make the error larger.

Nothing is random. Among equal costs the first one is taken (the original leaves that open). Vectors
whose codes a pass did not change are left alone by the following ones, which would not either.

Shapes: B vectors, N codebooks, K centres of each, R = N K, D width, G groups, O options of a group,
L codebooks of a group.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from espnet_kd.quantizer.centres import Centres
from espnet_kd.quantizer.compiled import compiled_search
from espnet_kd.quantizer.levels import kept_options, options_per_level, powers_of_two


@torch.no_grad()
def refine(
    centres: Centres,
    x_BD: Tensor,
    codes_BN: Tensor,
    iters: int,
    *,
    keep_best: bool = False,
    compiled: bool = True,
) -> Tensor:
    """Codes after so many passes of refinement.

    Args:
        centres: the quantiser's.
        x_BD: vectors, of the centres' type and device.
        codes_BN: int64 codes to begin with.
        iters: passes; 0 returns the codes as they are.
        keep_best: of each vector's codes before and after each pass, return those of the smallest
            error (published: those of the last pass).
        compiled: use the compiled loop where there is one (CPU, float32, with numba).
    """
    codes_BN = codes_BN.clone()
    if iters == 0 or codes_BN.shape[0] == 0:
        return codes_BN
    products_BR = centres.products(x_BD)
    search = compiled_search(centres) if compiled else None
    if search is not None:
        return search(centres, products_BR, codes_BN, iters, keep_best)
    best = _Best(centres, x_BD, codes_BN) if keep_best else None
    moving_M = torch.arange(len(codes_BN), device=codes_BN.device)
    for _ in range(iters):
        before_MN = codes_BN[moving_M]
        after_MN = refine_pass(centres, products_BR, before_MN)
        changed_M = (after_MN != before_MN).any(dim=1)
        moving_M, products_BR = moving_M[changed_M], products_BR[changed_M]
        codes_BN[moving_M] = after_MN[changed_M]
        if best is not None:
            best.see(moving_M, codes_BN)
        if len(moving_M) == 0:
            break
    return codes_BN if best is None else best.codes_BN


class _Best:
    """The best codes of each vector so far."""

    def __init__(self, centres: Centres, x_BD: Tensor, codes_BN: Tensor) -> None:
        self.centres, self.x_BD, self.codes_BN = centres, x_BD, codes_BN.clone()
        self.error_B = centres.square_error(x_BD, codes_BN)

    def see(self, changed_M: Tensor, codes_BN: Tensor) -> None:
        error_M = self.centres.square_error(self.x_BD[changed_M], codes_BN[changed_M])
        smaller_M = error_M < self.error_B[changed_M]
        better_M = changed_M[smaller_M]
        self.error_B[better_M] = error_M[smaller_M]
        self.codes_BN[better_M] = codes_BN[better_M]


class _Groups(NamedTuple):
    """Groups of codebooks with the options that are left of each."""

    cost_BGO: Tensor
    """By how much each option makes the squared error grow."""

    rows_BGOL: Tensor
    """The centres of each option, numbers 0 ... R-1."""

    old_BGL: Tensor
    """The centres before the pass."""

    def part(self, which: slice) -> _Groups:
        """Some of the groups."""
        return _Groups(*(tensor[:, which] for tensor in self))

    def cheapest(self, kept: int) -> _Groups:
        """The options of least cost, by rising cost."""
        if kept >= self.cost_BGO.shape[2]:
            return self
        order_BGO = self.cost_BGO.argsort(dim=2, stable=True)[:, :, :kept]
        chosen_BGOL = order_BGO.unsqueeze(3).expand(-1, -1, -1, self.rows_BGOL.shape[3])
        return _Groups(
            self.cost_BGO.gather(2, order_BGO), self.rows_BGOL.gather(2, chosen_BGOL), self.old_BGL
        )


def refine_pass(centres: Centres, products_BR: Tensor, codes_BN: Tensor) -> Tensor:
    """One pass for many vectors at once, in plain torch.

    Published numbers of codebooks are powers of two. Others are cut into such blocks, 12 into 8 and
    4; what the blocks end with is merged from the smallest one on.
    """
    size, number = centres.codebook_size, centres.num_codebooks
    old_BN = centres.rows(codes_BN)
    every_R = torch.arange(products_BR.shape[1], device=codes_BN.device)
    rows_BNK1 = every_R.view(1, number, size, 1).expand(len(codes_BN), -1, -1, -1)
    costs_BNK = replacement_costs(centres, products_BR, codes_BN)
    singles = _Groups(costs_BNK, rows_BNK1, old_BN.unsqueeze(2))
    blocks, start = [], 0
    for length in powers_of_two(number):
        kept = options_per_level(length, size, last=length == number)
        blocks.append(_one_group(centres.gram_RR, singles.part(slice(start, start + length)), kept))
        start += length
    whole = blocks.pop()
    while blocks:
        merged = _merge(centres.gram_RR, blocks.pop(), whole)
        whole = merged.cheapest(kept_options(size, merged.old_BGL.shape[2]) if blocks else 1)
    return whole.rows_BGOL[:, 0, 0] - (old_BN - codes_BN)


def _one_group(gram_RR: Tensor, groups: _Groups, kept: Sequence[int]) -> _Groups:
    """Merge neighbours until one group is left; ``kept`` options of each before every merge."""
    groups = groups.cheapest(kept[0])
    for most in kept[1:]:
        even, odd = groups.part(slice(0, None, 2)), groups.part(slice(1, None, 2))
        groups = _merge(gram_RR, even, odd).cheapest(most)
    return groups


def replacement_costs(centres: Centres, products_BR: Tensor, codes_BN: Tensor) -> Tensor:
    """By how much (B, N, K) the squared error grows when one centre alone is replaced."""
    number = centres.num_codebooks
    sums_BR = F.embedding_bag(centres.rows(codes_BN), centres.gram_RR, mode="sum")
    slope_BNK = (sums_BR - products_BR).view(-1, number, centres.codebook_size)
    old_BN1 = slope_BNK.gather(2, codes_BN.unsqueeze(2))
    which_N = torch.arange(number, device=codes_BN.device)
    return 2 * (slope_BNK - old_BN1) + centres.distance_NKK[which_N, codes_BN]


def _merge(gram_RR: Tensor, left: _Groups, right: _Groups) -> _Groups:
    """All combinations of an option of each left group with one of the right one beside it, which
    varies faster.

    Their cost is the sum of both costs and twice the inner product of the two changes. A change is
    an option less the old choice, so its products are differences of products with the old choice
    as one more option.
    """
    with_old = [
        torch.cat([one.rows_BGOL, one.old_BGL.unsqueeze(2)], dim=2) for one in (left, right)
    ]
    product = _sums_of_products(gram_RR, *with_old)
    product = product - product[:, :, -1:] - (product[..., -1:] - product[:, :, -1:, -1:])
    cost = left.cost_BGO.unsqueeze(3) + right.cost_BGO.unsqueeze(2)
    cost = cost + 2 * product[:, :, :-1, :-1]
    rows = [
        left.rows_BGOL.unsqueeze(3).expand(*cost.shape, -1),
        right.rows_BGOL.unsqueeze(2).expand(*cost.shape, -1),
    ]
    old_BGL = torch.cat([left.old_BGL, right.old_BGL], dim=2)
    return _Groups(cost.flatten(2), torch.cat(rows, dim=4).flatten(2, 3), old_BGL)


def _sums_of_products(gram_RR: Tensor, left_BGOL: Tensor, right_BGOL: Tensor) -> Tensor:
    """Inner products (B, G, O, O) of the sums of two groups' centres."""
    total = None
    for left_BGO in left_BGOL.unbind(3):
        for right_BGO in right_BGOL.unbind(3):
            places = left_BGO.unsqueeze(3) * len(gram_RR) + right_BGO.unsqueeze(2)
            term = gram_RR.take(places)
            total = term if total is None else total + term
    assert total is not None
    return total
