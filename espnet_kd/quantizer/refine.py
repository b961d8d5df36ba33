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

import torch
from torch import Tensor
from torch.nn import functional as F

from espnet_kd.quantizer.centres import Centres
from espnet_kd.quantizer.compiled import compiled_search
from espnet_kd.quantizer.levels import options_per_level


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


def refine_pass(centres: Centres, products_BR: Tensor, codes_BN: Tensor) -> Tensor:
    """One pass for many vectors at once, in plain torch."""
    size = centres.codebook_size
    levels = options_per_level(centres.num_codebooks, size)
    old_BN = centres.rows(codes_BN)
    cost_BGO = replacement_costs(centres, products_BR, codes_BN)
    every_R = torch.arange(products_BR.shape[1], device=codes_BN.device)
    rows_BGOL = every_R.view(1, -1, size, 1).expand(len(codes_BN), -1, -1, -1)
    cost_BGO, rows_BGOL = _cheapest(cost_BGO, rows_BGOL, levels[0])
    for kept in levels[1:]:
        cost_BGO, rows_BGOL = _merge(centres.gram_RR, cost_BGO, rows_BGOL, old_BN)
        cost_BGO, rows_BGOL = _cheapest(cost_BGO, rows_BGOL, kept)
    return rows_BGOL[:, 0, 0] - (old_BN - codes_BN)


def replacement_costs(centres: Centres, products_BR: Tensor, codes_BN: Tensor) -> Tensor:
    """By how much (B, N, K) the squared error grows when one centre alone is replaced."""
    number = centres.num_codebooks
    sums_BR = F.embedding_bag(centres.rows(codes_BN), centres.gram_RR, mode="sum")
    slope_BNK = (sums_BR - products_BR).view(-1, number, centres.codebook_size)
    old_BN1 = slope_BNK.gather(2, codes_BN.unsqueeze(2))
    which_N = torch.arange(number, device=codes_BN.device)
    return 2 * (slope_BNK - old_BN1) + centres.distance_NKK[which_N, codes_BN]


def _cheapest(cost_BGO: Tensor, rows_BGOL: Tensor, kept: int) -> tuple[Tensor, Tensor]:
    if kept >= cost_BGO.shape[2]:
        return cost_BGO, rows_BGOL
    order_BGO = cost_BGO.argsort(dim=2, stable=True)[:, :, :kept]
    length = rows_BGOL.shape[3]
    chosen_BGOL = order_BGO.unsqueeze(3).expand(-1, -1, -1, length)
    return cost_BGO.gather(2, order_BGO), rows_BGOL.gather(2, chosen_BGOL)


def _merge(
    gram_RR: Tensor, cost_BGO: Tensor, rows_BGOL: Tensor, old_BN: Tensor
) -> tuple[Tensor, Tensor]:
    """All combinations of an option of group 2i with one of group 2i+1; the latter varies faster.

    Their cost is the sum of both costs and twice the inner product of the two changes. A change is
    an option less the old choice, so its products are differences of products with the old choice
    as one more option.
    """
    batch, groups, options, length = rows_BGOL.shape
    old_BGL = old_BN.view(batch, groups, 1, length)
    with_old = torch.cat([rows_BGOL, old_BGL], dim=2)
    product = _sums_of_products(gram_RR, with_old[:, 0::2], with_old[:, 1::2])
    product = product - product[:, :, -1:] - (product[..., -1:] - product[:, :, -1:, -1:])
    cost = cost_BGO[:, 0::2].unsqueeze(3) + cost_BGO[:, 1::2].unsqueeze(2)
    cost = cost + 2 * product[:, :, :-1, :-1]
    shape = (batch, groups // 2, options, options, length)
    left = rows_BGOL[:, 0::2].unsqueeze(3).expand(shape)
    right = rows_BGOL[:, 1::2].unsqueeze(2).expand(shape)
    return cost.flatten(2), torch.cat([left, right], dim=4).flatten(2, 3)


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
