"""Transducer loss of the sum of an acoustic and a language model: no joiner, no B·T·U·V tensor.

Logits are ``am[t] + lm[s]``, so that the normalisers of all states are one matrix product. The
occupancies of its arcs say where a real joiner needs to be computed (arXiv 2206.13236). Smoothing
mixes in the scores of either model alone, the other being absent or a unigram.

Shapes: B batch, S symbols, U = S + 1 states of a frame, T frames, V vocabulary.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from espnet_kd.losses.checks import LossInputError, shape_text
from espnet_kd.losses.reduction import full_precision
from espnet_kd.losses.transducer.lattice import Lattice, check_outputs, exact, reduce


class SimpleLoss(NamedTuple):
    """A loss and what pruning needs of its lattice."""

    loss: Tensor
    """Scalar, or (B,) with ``reduction="none"``; gradients flow through it."""

    px_grad: Tensor
    """Occupancies of symbol arcs: (B, S, T + 1) if regular, else (B, S, T)."""

    py_grad: Tensor
    """Occupancies of blank arcs, (B, U, T)."""


def rnnt_loss_simple(
    lm_BUV: Tensor,
    am_BTV: Tensor,
    symbols_BS: Tensor,
    termination_symbol: int = 0,
    *,
    boundary: Tensor | None = None,
    rnnt_type: str = "regular",
    delay_penalty: float = 0.0,
    reduction: str = "mean",
) -> SimpleLoss:
    """Loss of ``am + lm``; see :func:`rnnt_loss_smoothed` for everything else."""
    return rnnt_loss_smoothed(
        lm_BUV, am_BTV, symbols_BS, termination_symbol,
        lm_only_scale=0.0, am_only_scale=0.0, boundary=boundary, rnnt_type=rnnt_type,
        delay_penalty=delay_penalty, reduction=reduction,
    )  # fmt: skip


def rnnt_loss_smoothed(
    lm_BUV: Tensor,
    am_BTV: Tensor,
    symbols_BS: Tensor,
    termination_symbol: int = 0,
    *,
    lm_only_scale: float = 0.1,
    am_only_scale: float = 0.1,
    boundary: Tensor | None = None,
    rnnt_type: str = "regular",
    delay_penalty: float = 0.0,
    reduction: str = "mean",
) -> SimpleLoss:
    """Loss of the mixed scores ``(1 - l - a) joint + l lm-only + a am-only``.

    Same semantics and option names as k2's function.

    Args:
        lm_BUV: logits of the decoder's projection; half precision is computed in float32.
        am_BTV: logits of the encoder's projection.
        symbols_BS: transcripts; what stands after a transcript's end does not matter.
        termination_symbol: blank.
        lm_only_scale: l.
        am_only_scale: a; the unigram is the mean of softmax(lm) over all of lm, padding included,
            as published.
        boundary: (B, 4) rows ``[0, 0, S_b, T_b]``; None: no padding.
        rnnt_type: one of :data:`~espnet_kd.losses.transducer.lattice.RNNT_TYPES`.
        delay_penalty: d; adds ``d ((T_b - 1) / 2 - t)`` to symbol arcs, so that symbols come early.
        reduction: ``none``, ``mean`` or ``sum`` over utterances.

    Raises:
        LossInputError: shapes, lengths, labels or scales that do not fit.
    """
    check_scales(lm_only_scale, am_only_scale)
    _check_models(lm_BUV, am_BTV, symbols_BS)
    lattice = Lattice.of(
        symbols_BS, boundary, frames=am_BTV.shape[1], vocabulary=am_BTV.shape[2],
        blank=termination_symbol, rnnt_type=rnnt_type,
    )  # fmt: skip
    with exact(am_BTV):
        models = _TwoModels(lm_BUV, am_BTV, lattice.symbols_BS, termination_symbol)
        px_BST, py_BUT = models.mixed(lm_only_scale, am_only_scale)
        loss_B, px_grad, py_grad = lattice.paths(px_BST, py_BUT, delay_penalty)
        return SimpleLoss(reduce(loss_B, reduction), px_grad, py_grad)


def check_scales(lm_only_scale: float, am_only_scale: float) -> None:
    """Raise ``LossInputError`` unless both lie in 0..1, and their sum too."""
    if min(lm_only_scale, am_only_scale) < 0 or not lm_only_scale + am_only_scale <= 1:
        raise LossInputError(
            f"the scale of lm alone is {lm_only_scale}, of am alone {am_only_scale}; neither may "
            "be negative, nor their sum above 1"
        )


class _TwoModels:
    """Scores of both arcs by the joint model and by either model alone, (B, S, T) and (B, U, T)."""

    def __init__(self, lm_BUV: Tensor, am_BTV: Tensor, symbols_BS: Tensor, blank: int) -> None:
        self.symbols_BS, self.blank = symbols_BS, blank
        lm_BUV, am_BTV = full_precision(lm_BUV), full_precision(am_BTV)
        self.tiny = torch.finfo(am_BTV.dtype).tiny
        self.lm_max_BU1, self.am_max_BT1 = _maximum(lm_BUV), _maximum(am_BTV)
        self.lm_BUV = (lm_BUV - self.lm_max_BU1).exp()
        self.am_BTV = (am_BTV - self.am_max_BT1).exp()
        self.px_lm_BS1 = lm_BUV[:, :-1].gather(2, symbols_BS[..., None])
        self.py_lm_BU1 = lm_BUV[:, :, blank : blank + 1]
        index_BTS = symbols_BS[:, None].expand(-1, am_BTV.shape[1], -1)
        self.px_am_BST = am_BTV.gather(2, index_BTS).transpose(1, 2)
        self.py_am_B1T = am_BTV[:, None, :, blank]

    def mixed(self, lm_only_scale: float, am_only_scale: float) -> tuple[Tensor, Tensor]:
        """Weighted sum of the three; what has no weight is not computed."""
        px_BST, py_BUT = self.joint()
        if lm_only_scale == am_only_scale == 0:
            return px_BST, py_BUT
        scale = 1 - lm_only_scale - am_only_scale
        px_BST, py_BUT = scale * px_BST, scale * py_BUT
        for scale, scores in ((lm_only_scale, self.lm_only), (am_only_scale, self.am_only)):
            if scale:
                px, py = scores()
                px_BST, py_BUT = px_BST + scale * px, py_BUT + scale * py
        return px_BST, py_BUT

    def joint(self) -> tuple[Tensor, Tensor]:
        """Scores of am + lm."""
        sums_BUT = self.lm_BUV @ self.am_BTV.transpose(1, 2)
        norm_BUT = (sums_BUT + self.tiny).log() + self.lm_max_BU1 + self.am_max_BT1.transpose(1, 2)
        px_BST = self.px_am_BST + self.px_lm_BS1 - norm_BUT[:, :-1]
        return px_BST, self.py_am_B1T + self.py_lm_BU1 - norm_BUT

    def lm_only(self) -> tuple[Tensor, Tensor]:
        """Scores of lm without am, (B, S, 1) and (B, U, 1)."""
        norm_BU1 = self.lm_BUV.sum(dim=2, keepdim=True).log() + self.lm_max_BU1
        return self.px_lm_BS1 - norm_BU1[:, :-1], self.py_lm_BU1 - norm_BU1

    def am_only(self) -> tuple[Tensor, Tensor]:
        """Scores of am with a unigram for lm, (B, S, T) and (B, 1, T)."""
        lm_BUV = self.lm_BUV / self.lm_BUV.sum(dim=2, keepdim=True)
        unigram_V = lm_BUV.mean(dim=(0, 1)) + self.tiny
        norm_B1T = ((self.am_BTV @ unigram_V).log() + self.am_max_BT1[..., 0])[:, None]
        log_V = unigram_V.log()
        px_BST = self.px_am_BST + log_V[self.symbols_BS][..., None] - norm_B1T
        return px_BST, self.py_am_B1T + log_V[self.blank] - norm_B1T


def _maximum(logits: Tensor) -> Tensor:
    return logits.detach().amax(dim=2, keepdim=True)


def _check_models(lm_BUV: Tensor, am_BTV: Tensor, symbols_BS: Tensor) -> None:
    if am_BTV.dim() != 3 or symbols_BS.dim() != 2:
        raise LossInputError(
            f"am is {shape_text(am_BTV)}, transcripts {shape_text(symbols_BS)}; they must have the "
            "shapes (batch, frames, vocabulary) and (batch, symbols)"
        )
    (batch, symbols), (_, frames, vocabulary) = symbols_BS.shape, am_BTV.shape
    check_outputs(am_BTV, (batch, frames, vocabulary), "am", "(batch, frames, vocabulary)")
    check_outputs(lm_BUV, (batch, symbols + 1, vocabulary), "lm", "(batch, symbols+1, vocabulary)")
