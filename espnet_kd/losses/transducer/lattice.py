"""What all transducer losses share: the checks of their input and the way from arcs to a loss.

Shapes: B batch, S symbols, U = S + 1 states of a frame, T frames, V vocabulary.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from espnet_kd.losses.checks import LossInputError, shape_text
from espnet_kd.losses.transducer.recursion import NEVER, mutual_information_recursion

RNNT_TYPES = ("regular", "modified", "constrained")
"""Lattices. Modified: a symbol also takes one frame. Constrained: and that frame's blank too."""

REDUCTIONS = ("none", "mean", "sum")


def exact(x: Tensor) -> AbstractContextManager[Any]:
    """Within the block autocast is off."""
    return torch.autocast(x.device.type, enabled=False)


def boundary_of(frame_lengths_B: Tensor, symbol_lengths_B: Tensor) -> Tensor:
    """The (B, 4) boundary ``[0, 0, S_b, T_b]`` of k2 from lengths."""
    if frame_lengths_B.dim() != 1 or frame_lengths_B.shape != symbol_lengths_B.shape:
        raise LossInputError(
            f"lengths of frames are {shape_text(frame_lengths_B)}, of transcripts "
            f"{shape_text(symbol_lengths_B)}; both must have the shape (batch,)"
        )
    symbols_B = symbol_lengths_B.to(frame_lengths_B)
    begin_B = torch.zeros_like(frame_lengths_B)
    return torch.stack([begin_B, begin_B, symbols_B, frame_lengths_B], dim=1).long()


@dataclass(frozen=True)
class Lattice:
    """Transcripts and sizes of a batch that have passed the checks."""

    symbols_BS: Tensor
    """int64; blanks where the transcript has ended."""

    boundary_B4: Tensor
    """int64 rows ``[0, 0, S_b, T_b]``."""

    frames: int
    """T, the padded number of frames."""

    rnnt_type: str
    """One of :data:`RNNT_TYPES`."""

    @classmethod
    def of(
        cls,
        symbols_BS: Tensor,
        boundary: Tensor | None,
        *,
        frames: int,
        vocabulary: int,
        blank: int,
        rnnt_type: str,
    ) -> Lattice:
        """Check a batch.

        Raises:
            LossInputError: shapes, lengths or labels that do not fit; the message names the first
                utterance that is wrong, by its place in the batch.
        """
        if rnnt_type not in RNNT_TYPES:
            raise LossInputError(f"rnnt_type is {rnnt_type!r}; it must be one of {RNNT_TYPES}")
        if not 0 <= blank < vocabulary:
            raise LossInputError(f"blank is {blank}, but the vocabulary has {vocabulary} entries")
        if symbols_BS.dim() != 2 or symbols_BS.is_floating_point():
            raise LossInputError(
                f"transcripts are {symbols_BS.dtype} {shape_text(symbols_BS)}; they must be whole "
                "numbers with the shape (batch, symbols)"
            )
        boundary_B4 = _whole_boundary(symbols_BS, frames) if boundary is None else boundary.long()
        boundary_B4 = boundary_B4.to(symbols_BS.device)
        _check_boundary(boundary_B4, symbols_BS, frames)
        symbols_BS = _check_labels(symbols_BS.long(), boundary_B4, vocabulary, blank)
        return cls(symbols_BS, boundary_B4, frames, rnnt_type)

    def paths(
        self, px_BST: Tensor, py_BUT: Tensor, delay_penalty: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Losses (B,) and occupancies from the arcs of all states, before any boundary."""
        if self.rnnt_type == "constrained":
            px_BST = px_BST + py_BUT[:, 1:]
        if delay_penalty:
            px_BST = px_BST + delay_penalty * self._delay(px_BST)
        if self.rnnt_type == "regular":
            # The last arc is a blank: nothing is written after the last frame.
            time_X = torch.arange(self.frames + 1, device=px_BST.device)
            over_BX = time_X >= self.boundary_B4[:, 3:]
            px_BST = torch.nn.functional.pad(px_BST, (0, 1))
            px_BST = px_BST.masked_fill(over_BX[:, None], NEVER)
        score_B, px_grad, py_grad = mutual_information_recursion(px_BST, py_BUT, self.boundary_B4)
        return -score_B, px_grad, py_grad

    def _delay(self, px_BST: Tensor) -> Tensor:
        """How much before the middle of its utterance each frame is, (B, 1, T)."""
        time_T = torch.arange(self.frames, device=px_BST.device, dtype=px_BST.dtype)
        return ((self.boundary_B4[:, 3:] - 1) / 2 - time_T)[:, None].to(px_BST.dtype)


def reduce(loss_B: Tensor, reduction: str) -> Tensor:
    """Sum or mean over utterances, or one loss each."""
    if reduction not in REDUCTIONS:
        raise LossInputError(f"reduction is {reduction!r}; it must be one of {REDUCTIONS}")
    if reduction == "none":
        return loss_B
    return loss_B.mean() if reduction == "mean" else loss_B.sum()


def check_outputs(x: Tensor, shape: tuple[int, ...], what: str, axes: str) -> None:
    """Raise ``LossInputError`` unless ``x`` is floating-point and has the shape."""
    if tuple(x.shape) != shape or not x.is_floating_point():
        raise LossInputError(
            f"{what}: {x.dtype} {shape_text(x)}; expected floating-point {axes} = {shape}"
        )


def _whole_boundary(symbols_BS: Tensor, frames: int) -> Tensor:
    batch, symbols = symbols_BS.shape
    return symbols_BS.new_tensor([[0, 0, symbols, frames]], dtype=torch.int64).expand(batch, 4)


def _check_boundary(boundary_B4: Tensor, symbols_BS: Tensor, frames: int) -> None:
    batch, symbols = symbols_BS.shape
    if boundary_B4.shape != (batch, 4):
        raise LossInputError(
            f"boundary is {shape_text(boundary_B4)}, transcripts {shape_text(symbols_BS)}; there "
            "must be one row [0, 0, symbols, frames] per utterance"
        )
    least = boundary_B4.new_tensor([0, 0, 0, 1])
    most = boundary_B4.new_tensor([0, 0, symbols, frames])
    wrong_B = ((boundary_B4 < least) | (boundary_B4 > most)).any(dim=1)
    if wrong_B.any():
        row = int(wrong_B.nonzero()[0])
        raise LossInputError(
            f"utterance {row} of the batch: [begin symbol, begin frame, symbols, frames] is "
            f"{boundary_B4[row].tolist()}; both begins must be 0, symbols lie in 0..{symbols} and "
            f"frames in 1..{frames}, the padded sizes: check the lengths and the subsampling"
        )


def _check_labels(symbols_BS: Tensor, boundary_B4: Tensor, vocabulary: int, blank: int) -> Tensor:
    """Transcripts with blanks for padding, whatever that was."""
    place_S = torch.arange(symbols_BS.shape[1], device=symbols_BS.device)
    symbols_BS = symbols_BS.masked_fill(place_S >= boundary_B4[:, 2:3], blank)
    wrong_BS = (symbols_BS < 0) | (symbols_BS >= vocabulary)
    if wrong_BS.any():
        row, column = wrong_BS.nonzero()[0].tolist()
        raise LossInputError(
            f"utterance {row} of the batch: label {int(symbols_BS[row, column])} at place {column} "
            f"is not in 0..{vocabulary - 1}; check the token list and the transcript's length"
        )
    return symbols_BS
