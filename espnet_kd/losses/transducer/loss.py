"""Transducer losses as modules: of the full lattice, and pruned as published.

The pruned loss is (arXiv 2206.13236, with the scales of the published MVQ recipe)::

    loss = simple_loss_scale * simple + s * pruned

The simple loss, of two linear models, tells where the joiner is worth computing. s grows with the
warm-up w = updates / 3000: 0 up to w = 1, 0.1 up to w = 2, then 1.

Shapes: B batch, S symbols, U = S + 1 states of a frame, T frames, R states kept per frame, C
channels, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from espnet_kd.errors import ConfigError
from espnet_kd.losses.checks import LossInputError, shape_text
from espnet_kd.losses.transducer.backends import BACKENDS, load_backend
from espnet_kd.losses.transducer.lattice import (
    REDUCTIONS,
    RNNT_TYPES,
    Lattice,
    boundary_of,
    check_outputs,
)
from espnet_kd.losses.transducer.pruned import do_rnnt_pruning

Joiner = Callable[[Tensor, Tensor], Tensor]
"""Encoder and decoder outputs (B, T, R, C) to logits (B, T, R, V)."""


class _Loss(nn.Module):
    """What both losses share.

    Args:
        problems: of the options that only one of them has.
        blank, rnnt_type, delay_penalty, reduction, backend: see there.
    """

    def __init__(
        self,
        problems: list[str],
        *,
        blank: int,
        rnnt_type: str,
        delay_penalty: float,
        reduction: str,
        backend: str,
    ) -> None:
        super().__init__()
        problems = _common_problems(rnnt_type, delay_penalty, reduction, backend) + problems
        if problems:
            raise ConfigError(type(self).__name__, problems)
        self.blank = blank
        self.rnnt_type = rnnt_type
        self.delay_penalty = delay_penalty
        self.reduction = reduction
        self.backend = backend
        load_backend(backend)

    def _lattice(
        self, symbols_BS: Tensor, frames_B: Tensor, symbols_B: Tensor, frames: int, vocabulary: int
    ) -> Lattice:
        return Lattice.of(
            symbols_BS, boundary_of(frames_B, symbols_B), frames=frames, vocabulary=vocabulary,
            blank=self.blank, rnnt_type=self.rnnt_type,
        )  # fmt: skip


class TransducerLoss(_Loss):
    """Loss of all paths through the full lattice, in nats.

    Args:
        blank: entry of the vocabulary.
        rnnt_type: ``regular``, ``modified`` (a symbol also takes a frame) or ``constrained``.
        delay_penalty: makes symbols come early; published 0.
        reduction: over utterances, ``sum`` or ``mean``.
        backend: ``torch``, ``k2`` or ``torchaudio``.

    Raises:
        ConfigError: all options that are wrong.
        MissingDependencyError: the backend is not installed.
    """

    def __init__(
        self,
        *,
        blank: int = 0,
        rnnt_type: str = "regular",
        delay_penalty: float = 0.0,
        reduction: str = "mean",
        backend: str = "torch",
    ) -> None:
        problems = []
        if backend == "torchaudio" and (rnnt_type != "regular" or delay_penalty):
            problems.append(
                "backend torchaudio has neither delay_penalty nor any rnnt_type but regular; take "
                "backend: torch"
            )
        super().__init__(
            problems, blank=blank, rnnt_type=rnnt_type, delay_penalty=delay_penalty,
            reduction=reduction, backend=backend,
        )  # fmt: skip

    def forward(
        self,
        logits_BTUV: Tensor,
        symbols_BS: Tensor,
        frame_lengths_B: Tensor,
        symbol_lengths_B: Tensor,
    ) -> dict[str, Tensor]:
        """Loss of a batch; half precision is computed in float32.

        Args:
            logits_BTUV: of the joiner, before any softmax.
            symbols_BS: transcripts; any padding, also negative.
            frame_lengths_B: T_b.
            symbol_lengths_B: S_b, 0 for an empty transcript.

        Returns:
            ``loss`` and ``skipped``, the number of utterances that no path fits (``modified`` with
            fewer frames than symbols) and that count for nothing.

        Raises:
            LossInputError: shapes, lengths or labels that do not fit.
        """
        if logits_BTUV.dim() != 4 or logits_BTUV.shape[2] != symbols_BS.shape[-1] + 1:
            raise LossInputError(
                f"logits are {shape_text(logits_BTUV)}, transcripts {shape_text(symbols_BS)}; the "
                "logits must be (batch, frames, symbols+1, vocabulary)"
            )
        lattice = self._lattice(
            symbols_BS, frame_lengths_B, symbol_lengths_B, *logits_BTUV.shape[1::2]
        )
        loss_B = load_backend(self.backend).full(
            logits_BTUV, lattice, self.blank, self.delay_penalty
        )
        loss, skipped = _total(loss_B, self.reduction)
        return {"loss": loss, "skipped": skipped}


class PrunedTransducerLoss(_Loss):
    """Simple and pruned loss, in nats.

    Args:
        blank: entry of the vocabulary.
        prune_range: R, states kept per frame; published 5.
        lm_scale: of the lm's own scores in the simple loss; published 0.25.
        am_scale: of the am's own scores; published 0.
        simple_loss_scale: published 0.5.
        rnnt_type: ``regular``, ``modified`` or ``constrained``.
        delay_penalty: makes symbols come early; published 0.
        reduction: over utterances, ``sum`` (published) or ``mean``.
        backend: ``torch`` or ``k2``.

    Raises:
        ConfigError: all options that are wrong.
        MissingDependencyError: the backend is not installed.
    """

    def __init__(
        self,
        *,
        blank: int = 0,
        prune_range: int = 5,
        lm_scale: float = 0.25,
        am_scale: float = 0.0,
        simple_loss_scale: float = 0.5,
        rnnt_type: str = "regular",
        delay_penalty: float = 0.0,
        reduction: str = "sum",
        backend: str = "torch",
    ) -> None:
        problems = []
        if backend == "torchaudio":
            problems.append("backend torchaudio has no pruned loss; take torch or k2")
        if prune_range < 2:
            problems.append(f"prune_range is {prune_range}; no path survives with fewer than 2")
        if min(lm_scale, am_scale) < 0 or not lm_scale + am_scale <= 1:
            problems.append(
                f"lm_scale is {lm_scale}, am_scale {am_scale}; neither may be negative, nor their "
                "sum above 1"
            )
        if not simple_loss_scale >= 0:
            problems.append(f"simple_loss_scale is {simple_loss_scale}; it must not be negative")
        super().__init__(
            problems, blank=blank, rnnt_type=rnnt_type, delay_penalty=delay_penalty,
            reduction=reduction, backend=backend,
        )  # fmt: skip
        self.prune_range = prune_range
        self.lm_scale = lm_scale
        self.am_scale = am_scale
        self.simple_loss_scale = simple_loss_scale

    def forward(
        self,
        am_BTV: Tensor,
        lm_BUV: Tensor,
        encoder_BTC: Tensor,
        decoder_BUC: Tensor,
        joiner: Joiner,
        symbols_BS: Tensor,
        frame_lengths_B: Tensor,
        symbol_lengths_B: Tensor,
        *,
        warmup: float = float("inf"),
    ) -> dict[str, Tensor]:
        """Loss of a batch; half precision is computed in float32.

        Args:
            am_BTV: the encoder's output, projected to the vocabulary for the simple loss.
            lm_BUV: the decoder's output, likewise.
            encoder_BTC: what the joiner takes of the encoder.
            decoder_BUC: what it takes of the decoder.
            joiner: is called once, for the states that are kept.
            symbols_BS: transcripts; any padding, also negative.
            frame_lengths_B: T_b.
            symbol_lengths_B: S_b, 0 for an empty transcript.
            warmup: w.

        Returns:
            ``loss``, its parts ``loss_simple`` and ``loss_pruned`` without scales, and ``skipped``,
            the number of utterances that no path fits and that count for nothing.

        Raises:
            LossInputError: shapes, lengths or labels that do not fit.
        """
        if am_BTV.dim() != 3:
            raise LossInputError(
                f"am is {shape_text(am_BTV)}; it must be (batch, frames, vocabulary)"
            )
        lattice = self._lattice(symbols_BS, frame_lengths_B, symbol_lengths_B, *am_BTV.shape[1:])
        by, blank, delay = load_backend(self.backend), self.blank, self.delay_penalty
        scales = (self.lm_scale, self.am_scale)
        occupied = by.smoothed(lm_BUV, am_BTV, lattice, blank, delay, scales)
        ranges_BTR = by.ranges(occupied, lattice.boundary_B4, self.prune_range)
        logits_BTRV = joiner(*do_rnnt_pruning(encoder_BTC, decoder_BUC, ranges_BTR))
        shape = (*ranges_BTR.shape, am_BTV.shape[2])
        check_outputs(logits_BTRV, shape, "joiner", "(batch, frames, ranges, vocabulary)")
        pruned_B = by.pruned(logits_BTRV, lattice, ranges_BTR, blank, delay)
        simple, skipped = _total(occupied.loss, self.reduction)
        pruned, _ = _total(pruned_B, self.reduction)
        loss = self.simple_loss_scale * simple + pruned_loss_scale(warmup) * pruned
        return {"loss": loss, "loss_simple": simple, "loss_pruned": pruned, "skipped": skipped}


def pruned_loss_scale(warmup: float) -> float:
    """Scale s of the published recipe: 0 up to w = 1, 0.1 up to w = 2, then 1.

    The original gives the one batch with w = 1 the scale 1, against its own intent.
    """
    if warmup <= 1:
        return 0.0
    return 0.1 if warmup <= 2 else 1.0


def _total(loss_B: Tensor, reduction: str) -> tuple[Tensor, Tensor]:
    """Sum or mean of the finite losses and NaN, and how many are infinite."""
    impossible_B = loss_B == float("inf")
    skipped = impossible_B.sum()
    loss = torch.where(impossible_B, torch.zeros_like(loss_B), loss_B).sum()
    if reduction == "mean":
        loss = loss / (loss_B.numel() - skipped).clamp(min=1)
    return loss, skipped


def _common_problems(
    rnnt_type: str, delay_penalty: float, reduction: str, backend: str
) -> list[str]:
    problems = [
        f"{name} is {value!r}; it must be one of {', '.join(allowed)}"
        for name, value, allowed in (
            ("rnnt_type", rnnt_type, RNNT_TYPES),
            ("reduction", reduction, [name for name in REDUCTIONS if name != "none"]),
            ("backend", backend, BACKENDS),
        )
        if value not in allowed
    ]
    if not delay_penalty >= 0:
        problems.append(f"delay_penalty is {delay_penalty}; it must not be negative")
    return problems
