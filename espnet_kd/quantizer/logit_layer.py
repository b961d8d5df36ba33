"""The layer that proposes codes, fitted to given ones.

Shapes: T vectors, B of a batch, D width, N codebooks, K centres of each.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from espnet_kd.quantizer.quantizer import Quantizer

_RELATIVE_RIDGE = 1e-3
_LEAST_PROBABILITY = 1e-30
_RELATIVE_RATE = 0.03
"""First learning rate relative to the weights' standard deviation."""


def fit_logit_layer(
    quantizer: Quantizer,
    x_TD: Tensor,
    codes_TN: Tensor,
    steps: int,
    batch: int,
    generator: torch.Generator,
) -> None:
    """Set the logit layer so that it predicts ``codes_TN``; the centres stay."""
    start_from_discriminants(quantizer, x_TD, codes_TN)
    parameters = list(quantizer.to_logits.parameters())
    rate = _RELATIVE_RATE * float(parameters[0].detach().std())
    optimizer = torch.optim.Adam(parameters, lr=rate, betas=(0.9, 0.98))
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * (1 - step / steps)
        rows_B = torch.randint(len(x_TD), (min(batch, len(x_TD)),), generator=generator)
        rows_B = rows_B.to(x_TD.device)
        gradients = _gradients(quantizer, x_TD[rows_B], codes_TN[rows_B])
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        optimizer.step()
    optimizer.zero_grad()


@torch.no_grad()
def _gradients(quantizer: Quantizer, x_BD: Tensor, codes_BN: Tensor) -> tuple[Tensor, Tensor]:
    """Of the mean cross-entropy of codes by weight and bias.

    By hand: most probabilities of fitted layers are denormal numbers, whose products crawl.
    """
    slope_BNK = quantizer.logits(x_BD).softmax(dim=2)
    slope_BNK = F.threshold(slope_BNK, _LEAST_PROBABILITY, 0.0, inplace=True)
    slope_BNK.scatter_add_(2, codes_BN.unsqueeze(2), -torch.ones_like(slope_BNK[..., :1]))
    slope_BR = slope_BNK.flatten(1)
    count = codes_BN.numel()
    return (slope_BR.T @ x_BD).div_(count), slope_BR.sum(dim=0).div_(count)


@torch.no_grad()
def start_from_discriminants(quantizer: Quantizer, x_TD: Tensor, codes_TN: Tensor) -> None:
    """Linear discriminants: each codebook's codes as classes of one common covariance."""
    size = quantizer.config.codebook_size
    mean_D = x_TD.mean(dim=0)
    centred_TD = x_TD - mean_D
    total_DD = centred_TD.T @ centred_TD / len(x_TD)
    weight_NKD = quantizer.to_logits.weight.view(-1, size, x_TD.shape[1])
    bias_NK = quantizer.to_logits.bias.view(-1, size)
    quantizer.logits_scale.zero_()
    for n, codes_T in enumerate(codes_TN.unbind(1)):
        counts_K = torch.bincount(codes_T, minlength=size).to(x_TD.dtype)
        sums_KD = x_TD.new_zeros(size, x_TD.shape[1]).index_add_(0, codes_T, centred_TD)
        means_KD = sums_KD / (counts_K + 1).unsqueeze(1)
        between_DD = means_KD.T @ (means_KD * (counts_K / len(x_TD)).unsqueeze(1))
        within_DD = total_DD - between_DD
        ridge = _RELATIVE_RIDGE * total_DD.diagonal().mean()
        within_DD.diagonal().add_(ridge)
        directions_KD = torch.linalg.solve(within_DD, means_KD.T).T
        prior_K = ((counts_K + 1) / (len(x_TD) + size)).log()
        weight_NKD[n] = directions_KD
        bias_NK[n] = prior_K - directions_KD @ mean_D - 0.5 * (directions_KD * means_KD).sum(1)
