"""A quantiser in minutes: residual k-means, least-squares centres, then the logit layer.

Not the published training, but its codes, format and refinement. Each codebook is a k-means of
what the codebooks before it leave over. Then all centres are solved for at once, given the codes,
and the codes searched anew, given the centres. The logit layer starts as the linear discriminant of
the final codes and is finished by gradient.

Shapes: T vectors, D width, N codebooks, K centres of each, R = N K.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from espnet_kd.errors import ConfigError
from espnet_kd.quantizer.centres import Centres
from espnet_kd.quantizer.config import QuantizerConfig
from espnet_kd.quantizer.logit_layer import fit_logit_layer, start_from_discriminants
from espnet_kd.quantizer.quantizer import Quantizer
from espnet_kd.quantizer.refine import refine

Report = Callable[[float, str], None]
"""Receives the share that is done (0 to 1) and what comes next."""
_CHUNK = 4096


@dataclass(frozen=True)
class KMeansOptions:
    """How the centres are found."""

    lloyd_rounds: int = 6
    """Rounds of k-means per codebook."""

    alternations: int = 2
    """Times that codes and centres are improved in turn, before the logit layer and after it."""

    passes: int = 2
    """Refinement passes of each of these searches."""

    ridge: float = 40.0
    """Imagined vectors per centre that leave it where k-means put it. With few vectors for many
    centres, least squares alone learn them by heart: 16 codebooks from 8192 vectors left 0.24 of
    held-out vectors with 1, and 0.12 with 40."""

    logit_steps: int = 200
    """Updates of the logit layer."""

    logit_batch: int = 1024
    """Vectors of each."""

    seed: int = 0
    """Of the first centres and of the batches."""


@torch.no_grad()
def fit_quantizer(
    x_TD: Tensor,
    config: QuantizerConfig,
    options: KMeansOptions | None = None,
    report: Report = lambda share, what: None,
) -> Quantizer:
    """A trained quantiser, which keeps the best codes of all passes (``config.keep_best``).

    Args:
        x_TD: vectors to learn from, float32; tens of thousands.
        config: its sizes.
        options: see there.
        report: is told how far it is.

    Raises:
        ConfigError: fewer vectors than centres in a codebook, or of another width.
    """
    options = options or KMeansOptions()
    _check(x_TD, config)
    generator = torch.Generator().manual_seed(options.seed)
    centres_NKD, codes_TN = residual_kmeans(x_TD, config, options, generator, report)
    centres_NKD, codes_TN = alternate(x_TD, centres_NKD, codes_TN, options)
    quantizer = Quantizer(replace(config, keep_best=True)).to(x_TD)
    quantizer.centers.copy_(centres_NKD)
    quantizer.eval()
    report(0.6, "codes from the logit layer")
    start_from_discriminants(quantizer, x_TD, codes_TN)
    # From here on codes begin where encoding will begin them. Not the best ones of all passes: what
    # moves away from the first guess here ends in better centres.
    codes_TN = quantizer.encode(x_TD, options.passes, as_bytes=False, keep_best=False)
    centres_NKD, codes_TN = alternate(x_TD, quantizer.centers, codes_TN, options)
    quantizer.centers.copy_(centres_NKD)
    report(0.8, "logit layer")
    fit_logit_layer(quantizer, x_TD, codes_TN, options.logit_steps, options.logit_batch, generator)
    report(1.0, "done")
    return quantizer


def residual_kmeans(
    x_TD: Tensor,
    config: QuantizerConfig,
    options: KMeansOptions,
    generator: torch.Generator,
    report: Report,
) -> tuple[Tensor, Tensor]:
    """Centres (N, K, D) and codes (T, N): each codebook clusters what is left over so far."""
    left_TD, centres, codes = x_TD.clone(), [], []
    for n in range(config.num_codebooks):
        report(0.5 * n / config.num_codebooks, f"k-means {n + 1} of {config.num_codebooks}")
        centres_KD, codes_T = kmeans(left_TD, config.codebook_size, options.lloyd_rounds, generator)
        left_TD -= centres_KD[codes_T]
        centres.append(centres_KD)
        codes.append(codes_T)
    return torch.stack(centres), torch.stack(codes, dim=1)


def kmeans(
    x_TD: Tensor, size: int, rounds: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Lloyd's algorithm from random vectors; centres (K, D) and the nearest of each vector (T,).

    A cluster that loses all its vectors begins again at one of the vectors farthest from theirs.
    """
    start = torch.randperm(len(x_TD), generator=generator)[:size].to(x_TD.device)
    centres_KD = x_TD[start].clone()
    codes_T, gain_T = _nearest(x_TD, centres_KD)
    for _ in range(rounds):
        counts_K = torch.bincount(codes_T, minlength=size)
        sums_KD = torch.zeros_like(centres_KD).index_add_(0, codes_T, x_TD)
        centres_KD = sums_KD / counts_K.clamp(min=1).unsqueeze(1)
        empty_E = (counts_K == 0).nonzero().flatten()
        if len(empty_E):
            error_T = gain_T + x_TD.square().sum(dim=1)
            centres_KD[empty_E] = x_TD[error_T.topk(len(empty_E)).indices]
        codes_T, gain_T = _nearest(x_TD, centres_KD)
    return centres_KD, codes_T


def _nearest(x_TD: Tensor, centres_KD: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest centre of each vector, and its squared distance less the vector's own square."""
    square_K = centres_KD.square().sum(dim=1)
    found = [
        torch.addmm(square_K, chunk, centres_KD.T, alpha=-2).min(dim=1)
        for chunk in torch.split(x_TD, _CHUNK)
    ]
    return torch.cat([f.indices for f in found]), torch.cat([f.values for f in found])


def alternate(
    x_TD: Tensor, centres_NKD: Tensor, codes_TN: Tensor, options: KMeansOptions
) -> tuple[Tensor, Tensor]:
    """Improve codes given centres and centres given codes, in turn."""
    for _ in range(options.alternations):
        codes_TN = _search(x_TD, centres_NKD, codes_TN, options.passes)
        centres_NKD = least_squares_centres(x_TD, centres_NKD, codes_TN, options.ridge)
    return centres_NKD, _search(x_TD, centres_NKD, codes_TN, options.passes)


def _search(x_TD: Tensor, centres_NKD: Tensor, codes_TN: Tensor, passes: int) -> Tensor:
    centres = Centres.of(centres_NKD)
    pairs = zip(torch.split(x_TD, _CHUNK), torch.split(codes_TN, _CHUNK), strict=True)
    return torch.cat([refine(centres, x, codes, passes, keep_best=True) for x, codes in pairs])


def least_squares_centres(
    x_TD: Tensor, centres_NKD: Tensor, codes_TN: Tensor, ridge: float
) -> Tensor:
    """The centres (N, K, D) of smallest squared error for these codes, all at once.

    The ridge is on their change: a centre without vectors stays where it is.
    """
    number, size, dim = centres_NKD.shape
    rows_TN = codes_TN + torch.arange(number, device=codes_TN.device) * size
    flat_RD = centres_NKD.flatten(0, 1)
    error_TD, right_RD = x_TD.clone(), torch.zeros_like(flat_RD)
    for rows_T in rows_TN.unbind(1):
        error_TD -= flat_RD[rows_T]
    for rows_T in rows_TN.unbind(1):
        right_RD.index_add_(0, rows_T, error_TD)
    left_RR = torch.zeros(number * size, number * size, dtype=torch.float64, device=x_TD.device)
    for n in range(number):
        for m in range(n + 1):
            pairs = torch.bincount(codes_TN[:, n] * size + codes_TN[:, m], minlength=size * size)
            block_KK = pairs.view(size, size).double()
            left_RR[n * size : (n + 1) * size, m * size : (m + 1) * size] = block_KK
            left_RR[m * size : (m + 1) * size, n * size : (n + 1) * size] = block_KK.T
    left_RR.diagonal().add_(ridge)
    factor_RR = torch.linalg.cholesky(left_RR)
    change_RD = torch.cholesky_solve(right_RD.double(), factor_RR)
    return centres_NKD + change_RD.to(x_TD.dtype).view(number, size, dim)


def _check(x_TD: Tensor, config: QuantizerConfig) -> None:
    problems = []
    if x_TD.dim() != 2 or x_TD.shape[1] != config.dim:
        problems.append(f"vectors are {tuple(x_TD.shape)}; the quantiser's width is {config.dim}")
    elif len(x_TD) < config.codebook_size:
        problems.append(
            f"{len(x_TD)} vectors cannot be divided into {config.codebook_size} clusters; give "
            "more, the published recipe uses the frames of 1000 utterances"
        )
    if problems:
        raise ConfigError("training of the quantiser", problems)
