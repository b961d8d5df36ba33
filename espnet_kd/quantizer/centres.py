"""What the search for codes needs to know of the centres: their inner products.

The error of a choice of centres is a quadratic form of inner products among centres and between
centres and the vector, so the search touches no vector of width D. A shift of the origin changes no
error; with it at the centres' mean, the products stay small and float32 keeps more of them.

Shapes: N codebooks, K centres of each, R = N K centres in all, D width, B vectors.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Centres:
    """Inner products of a quantiser's centres."""

    centred_RD: Tensor
    """Centres, each codebook's mean taken away."""

    origin_D: Tensor
    """Sum of those means."""

    gram_RR: Tensor
    """Inner products of the centred centres."""

    distance_NKK: Tensor
    """Squared distances within each codebook."""

    @classmethod
    def of(cls, centres_NKD: Tensor) -> Centres:
        """Prepare effective centres (N, K, D), float32 or float64."""
        mean_N1D = centres_NKD.mean(dim=1, keepdim=True)
        centred_NKD = centres_NKD - mean_N1D
        centred_RD = centred_NKD.flatten(0, 1)
        gram_RR = centred_RD @ centred_RD.T
        own_NKK = torch.einsum("nkd,njd->nkj", centred_NKD, centred_NKD)
        square_NK = own_NKK.diagonal(dim1=1, dim2=2)
        distance_NKK = square_NK.unsqueeze(2) + square_NK.unsqueeze(1) - 2 * own_NKK
        return cls(centred_RD, mean_N1D.sum(dim=(0, 1)), gram_RR, distance_NKK.contiguous())

    @property
    def num_codebooks(self) -> int:
        """N."""
        return self.distance_NKK.shape[0]

    @property
    def codebook_size(self) -> int:
        """K."""
        return self.distance_NKK.shape[1]

    def products(self, x_BD: Tensor) -> Tensor:
        """Inner products (B, R) of vectors with the centres, about the common origin."""
        return (x_BD - self.origin_D) @ self.centred_RD.T

    def rows(self, codes_BN: Tensor) -> Tensor:
        """Numbers 0 ... R-1 of the chosen centres."""
        first_N = torch.arange(self.num_codebooks, device=codes_BN.device) * self.codebook_size
        return codes_BN + first_N

    def square_error(self, x_BD: Tensor, codes_BN: Tensor) -> Tensor:
        """Squared distance (B,) of vectors to the sum of their centres."""
        error_BD = self.origin_D - x_BD
        for rows_B in self.rows(codes_BN).unbind(1):
            error_BD = error_BD + self.centred_RD[rows_B]
        return error_BD.square().sum(dim=1)
