"""The direct-sum multi-codebook quantiser (MVQ, arXiv 2211.00508).

A vector is stored as one index per codebook and read back as the sum of the indexed centres. A
linear layer proposes the indexes, and a search that needs no gradient refines them. Names, shapes
and order of the parameters are the published package's.

Shapes: B vectors, D width, N codebooks, K centres of each.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from espnet_kd.errors import ConfigError
from espnet_kd.quantizer.centres import Centres
from espnet_kd.quantizer.config import QuantizerConfig
from espnet_kd.quantizer.packing import CodesError, pack, unpack
from espnet_kd.quantizer.refine import refine

SCALE_SPEED = 10.0
"""The two scales are exp(10 s): they learn ten times as fast as other parameters."""
ENTROPY_SCALE = 0.01
"""Weight of the logits' entropy in the loss."""
_TINY = 1.0e-20
_CHUNK_FLOATS = 2**23
"""Products of vectors and centres that encoding holds at a time (32 MiB)."""


class Quantizer(nn.Module):
    """Encode, decode, and the losses of training.

    Args:
        config: its sizes.
    """

    def __init__(self, config: QuantizerConfig) -> None:
        super().__init__()
        self.config = config
        number, size, dim = config.num_codebooks, config.codebook_size, config.dim
        to_logits = nn.Linear(dim, number * size)
        self.centers = nn.Parameter(to_logits.weight.detach().view(number, size, dim).clone())
        self.logits_scale = nn.Parameter(torch.zeros(()))
        self.centers_scale = nn.Parameter(torch.zeros(()))
        self.id_buf: Tensor
        self.register_buffer("id_buf", _new_id())
        self.to_logits = to_logits
        self._prepared: tuple[tuple[Any, ...], Centres] | None = None

    @property
    def id(self) -> str:
        """Eight characters that tell quantisers apart."""
        return bytes(self.id_buf.tolist()).decode("ascii")

    def effective_centers(self) -> Tensor:
        """The centres (N, K, D) as they are added."""
        return (SCALE_SPEED * self.centers_scale).exp() * self.centers

    def data_mean(self) -> Tensor:
        """Mean (D,) of the data if all codes are equally frequent; no gradient."""
        return self.effective_centers().detach().mean(dim=1).sum(dim=0)

    def logits(self, x: Tensor) -> Tensor:
        """Scores (..., N, K) of the codes of vectors (..., D)."""
        scaled = (SCALE_SPEED * self.logits_scale).exp() * x
        y: Tensor = self.to_logits(scaled)
        return y.view(*x.shape[:-1], self.config.num_codebooks, self.config.codebook_size)

    @torch.no_grad()
    def encode(
        self,
        x: Tensor,
        refine_indexes_iters: int = 5,
        as_bytes: bool = True,
        *,
        keep_best: bool | None = None,
    ) -> Tensor:
        """The codes of vectors (..., D).

        Args:
            x: vectors; half precision is taken as float32.
            refine_indexes_iters: passes of refinement.
            as_bytes: pack codes, uint8 (..., P); else int64 (..., N).
            keep_best: see :func:`espnet_kd.quantizer.refine.refine`; None = as configured.

        Raises:
            CodesError: another width, or values that are not finite.
            ConfigError: ``as_bytes`` with more than 256 centres per codebook.
        """
        x_BD = self._checked(x).reshape(-1, self.config.dim)
        best = self.config.keep_best if keep_best is None else keep_best
        rows = max(1, _CHUNK_FLOATS // (self.config.num_codebooks * self.config.codebook_size))
        with torch.autocast(x.device.type, enabled=False):
            centres = self.centres()
            chunks = [
                self._indexes(centres, chunk_BD, refine_indexes_iters, best)
                for chunk_BD in torch.split(x_BD, rows)
            ]
        codes = torch.cat(chunks).view(*x.shape[:-1], self.config.num_codebooks)
        return pack(codes, self.config) if as_bytes else codes

    def decode(self, indexes: Tensor) -> Tensor:
        """The vectors (..., D) of codes (..., N), or of packed ones (..., P).

        Raises:
            CodesError: codes of another quantiser.
        """
        codes = unpack(indexes, self.config)
        return self._sum_of_centres(self.effective_centers(), codes)

    def forward(self, x_BD: Tensor, refine_indexes_iters: int = 0) -> dict[str, Tensor]:
        """The losses of training on a batch.

        Returns:
            ``loss``, the weighted sum of ``reconstruction`` (squared error relative to that of the
            mean; gradient to the centres), ``logprob`` (of the chosen codes; gradient to the logit
            layer) and ``logits_entropy`` (how far the mean softmax is from uniform); and
            ``index_entropy``, the same of the chosen codes, without gradient. All are scalars.
        """
        x_BD = self._checked(x_BD)
        logits_BNK = self.logits(x_BD)
        codes_BN = logits_BNK.detach().argmax(dim=2)
        if refine_indexes_iters:
            with torch.no_grad():
                codes_BN = refine(self.centres(), x_BD, codes_BN, refine_indexes_iters)
        error = self._sum_of_centres(self.effective_centers(), codes_BN) - x_BD
        spread = (x_BD - self.data_mean()).square().sum() + _TINY
        reconstruction = error.square().sum() / spread
        logprob_BNK = F.log_softmax(logits_BNK, dim=2)
        logprob = -logprob_BNK.gather(2, codes_BN.unsqueeze(2)).mean()
        logits_entropy = _entropy_loss(logprob_BNK.exp().mean(dim=0))
        index_entropy = _entropy_loss(
            F.one_hot(codes_BN, self.config.codebook_size).to(x_BD.dtype).mean(dim=0)
        )
        return {
            "loss": reconstruction + logprob + ENTROPY_SCALE * logits_entropy,
            "reconstruction": reconstruction,
            "logprob": logprob,
            "logits_entropy": logits_entropy,
            "index_entropy": index_entropy,
        }

    def centres(self) -> Centres:
        """The inner products that the search needs; computed anew when the centres have changed."""
        parts = (self.centers, self.centers_scale)
        # In-place changes through .data escape the versions: training computes them each time.
        state = tuple((p.data_ptr(), p._version, p.dtype, p.device) for p in parts)
        if self.training or self._prepared is None or self._prepared[0] != state:
            with torch.no_grad():
                self._prepared = (state, Centres.of(self.effective_centers().detach()))
        return self._prepared[1]

    @torch.no_grad()
    def correlations(self) -> Tensor:
        """How much (N, N) the directions of two codebooks' centres overlap, 0 to 1."""
        centres_NKD = self.effective_centers()
        centres_NKD = centres_NKD - centres_NKD.mean(dim=1, keepdim=True)
        scatter_NF = torch.einsum("nkd,nke->nde", centres_NKD, centres_NKD).flatten(1)
        overlap_NN = scatter_NF @ scatter_NF.T
        norm_N = overlap_NN.diagonal().sqrt()
        return overlap_NN / (norm_N.unsqueeze(0) * norm_N.unsqueeze(1))

    @torch.no_grad()
    def product(self) -> Quantizer:
        """The quantiser whose codebooks are pairs of this one's: N/2 codebooks of K² centres.

        Codebook c has the sums of centres of codebooks 2c and 2c+1, its index is K times the
        first's plus the second's (the other way round than in a packed byte).

        Raises:
            ConfigError: an odd number of codebooks.
        """
        if self.config.num_codebooks % 2:
            raise ConfigError(
                "quantiser",
                [f"num_codebooks is {self.config.num_codebooks}; only an even number makes pairs"],
            )
        config = QuantizerConfig(
            self.config.dim, self.config.num_codebooks // 2, self.config.codebook_size**2
        )
        other = Quantizer(config).to(self.centers)
        other.centers.copy_(_pair_sums(self.centers))
        weight = self.to_logits.weight.view_as(self.centers)
        other.to_logits.weight.copy_(_pair_sums(weight).flatten(0, 1))
        bias = self.to_logits.bias.view(*self.centers.shape[:2], 1)
        other.to_logits.bias.copy_(_pair_sums(bias).flatten())
        other.logits_scale.copy_(self.logits_scale)
        other.centers_scale.copy_(self.centers_scale)
        return other

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """Forget what was prepared when parameters move to another device or type."""
        self._prepared = None
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    def _indexes(self, centres: Centres, x_BD: Tensor, iters: int, keep_best: bool) -> Tensor:
        codes_BN = self.logits(x_BD).argmax(dim=2)
        return refine(centres, x_BD, codes_BN, iters, keep_best=keep_best)

    def _checked(self, x: Tensor) -> Tensor:
        if x.dim() == 0 or x.shape[-1] != self.config.dim:
            raise CodesError(
                f"vectors {tuple(x.shape)} do not fit this quantiser of width {self.config.dim}; "
                "encode the layer that it was trained on"
            )
        if not bool(torch.isfinite(x).all()):
            raise CodesError("vectors hold NaN or infinity; check the teacher and its precision")
        return x.to(self.centers.dtype)

    @staticmethod
    def _sum_of_centres(centres_NKD: Tensor, codes: Tensor) -> Tensor:
        number, size, _ = centres_NKD.shape
        rows = codes + torch.arange(number, device=codes.device) * size
        flat_BN = rows.reshape(-1, number)
        sums_BD = F.embedding_bag(flat_BN, centres_NKD.flatten(0, 1), mode="sum")
        return sums_BD.view(*codes.shape[:-1], -1)


def _pair_sums(x_NKD: Tensor) -> Tensor:
    """Sums (N/2, K², D) of all pairs of rows of neighbours; the second one varies faster."""
    sums: Tensor = x_NKD[0::2].unsqueeze(2) + x_NKD[1::2].unsqueeze(1)
    return sums.flatten(1, 2)


def _entropy_loss(probability_NK: Tensor) -> Tensor:
    """How far a distribution is from uniform: 0 = uniform, 1 = one value only; mean over N."""
    entropy: Tensor = -(probability_NK * (probability_NK + _TINY).log()).sum(dim=1).mean()
    most = math.log(probability_NK.shape[1])
    loss: Tensor = 1 - entropy / most
    return loss


def _new_id() -> Tensor:
    return torch.tensor(list(os.urandom(4).hex().encode("ascii")), dtype=torch.uint8)
