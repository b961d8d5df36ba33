"""The full-lattice loss, and the loss of a few states per frame around the likely paths.

Occupancies of the simple loss choose, for each frame, R neighbouring states out of S + 1; the
joiner is computed for those alone (arXiv 2206.13236). Semantics and names are k2's.

Shapes: B batch, S symbols, U = S + 1 states of a frame, T frames, R states kept per frame, C
channels, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from espnet_kd.losses.checks import LossInputError, shape_text
from espnet_kd.losses.transducer.arcs import arc_scores
from espnet_kd.losses.transducer.lattice import Lattice, check_outputs, exact, reduce
from espnet_kd.losses.transducer.recursion import NEVER


def rnnt_loss(
    logits_BTUV: Tensor,
    symbols_BS: Tensor,
    termination_symbol: int = 0,
    *,
    boundary: Tensor | None = None,
    rnnt_type: str = "regular",
    delay_penalty: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    """Transducer loss of all states of the lattice.

    Args:
        logits_BTUV: of the joiner, before any softmax; half precision is computed in float32.
        symbols_BS: transcripts; what stands after a transcript's end does not matter.
        termination_symbol: blank.
        boundary: (B, 4) rows ``[0, 0, S_b, T_b]``; None: no padding.
        rnnt_type: one of :data:`~espnet_kd.losses.transducer.lattice.RNNT_TYPES`.
        delay_penalty: d; adds ``d ((T_b - 1) / 2 - t)`` to symbol arcs.
        reduction: ``none``, ``mean`` or ``sum`` over utterances.

    Returns:
        The loss in nats; infinite, with a gradient of 0, for an utterance without any path
        (``modified`` with fewer frames than symbols).

    Raises:
        LossInputError: shapes, lengths or labels that do not fit.
    """
    axes = "(batch, frames, symbols+1, vocabulary)"
    lattice = _lattice(logits_BTUV, symbols_BS, boundary, termination_symbol, rnnt_type)
    batch, symbols = symbols_BS.shape
    shape = (batch, lattice.frames, symbols + 1, logits_BTUV.shape[3])
    check_outputs(logits_BTUV, shape, "logits", axes)
    index_BTU = F.pad(lattice.symbols_BS, (0, 1), value=termination_symbol)[:, None]
    index_BTU = index_BTU.expand(-1, lattice.frames, -1)
    with exact(logits_BTUV):
        px_BTU, py_BTU = arc_scores(logits_BTUV, index_BTU, termination_symbol)
        px_BST, py_BUT = px_BTU[:, :, :-1].transpose(1, 2), py_BTU.transpose(1, 2)
        return reduce(lattice.paths(px_BST, py_BUT, delay_penalty)[0], reduction)


def rnnt_loss_pruned(
    logits_BTRV: Tensor,
    symbols_BS: Tensor,
    ranges_BTR: Tensor,
    termination_symbol: int = 0,
    *,
    boundary: Tensor | None = None,
    rnnt_type: str = "regular",
    delay_penalty: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    """Transducer loss of the paths that stay within ``ranges_BTR``.

    These come from :func:`get_rnnt_prune_ranges`, the logits from the joiner for the states that
    were kept. Everything else is as in :func:`rnnt_loss`.
    """
    lattice = _lattice(logits_BTRV, symbols_BS, boundary, termination_symbol, rnnt_type)
    batch, symbols = symbols_BS.shape
    _check_ranges(ranges_BTR, batch, lattice.frames, symbols)
    shape = (*ranges_BTR.shape, logits_BTRV.shape[3])
    check_outputs(logits_BTRV, shape, "logits", "(batch, frames, ranges, vocabulary)")
    ranges_BTR = ranges_BTR.long()
    symbols_BU = F.pad(lattice.symbols_BS, (0, 1), value=termination_symbol)
    index_BTR = symbols_BU.gather(1, ranges_BTR.flatten(1)).view_as(ranges_BTR)
    with exact(logits_BTRV):
        px_BTR, py_BTR = arc_scores(logits_BTRV, index_BTR, termination_symbol)
        never_BTU = px_BTR.new_full((batch, lattice.frames, symbols + 1), NEVER)
        px_BUT = never_BTU.scatter(2, ranges_BTR, px_BTR).transpose(1, 2)
        py_BUT = never_BTU.scatter(2, ranges_BTR, py_BTR).transpose(1, 2)
        return reduce(lattice.paths(px_BUT[:, :-1], py_BUT, delay_penalty)[0], reduction)


def get_rnnt_prune_ranges(
    px_grad: Tensor, py_grad: Tensor, boundary: Tensor, s_range: int
) -> Tensor:
    """States to keep in each frame, (B, T, R) int64, R neighbours each.

    The window with the largest occupancy is taken where paths allow it: a window never goes back,
    never leaves a gap to the one before, begins at state 0 and ends at state S_b.

    Args:
        px_grad: occupancies of a :class:`~espnet_kd.losses.transducer.simple.SimpleLoss`.
        py_grad: likewise.
        boundary: (B, 4) rows ``[0, 0, S_b, T_b]``.
        s_range: R. Where S + 1 is less, R = S + 1. Where an utterance has so many symbols per frame
            that no path would survive, R is the least with which one does.

    Raises:
        LossInputError: shapes that do not fit, or ``s_range`` below 2.
    """
    _check_occupancies(px_grad, py_grad, boundary)
    if s_range < 2:
        raise LossInputError(f"s_range is {s_range}; with fewer than 2 states no path survives")
    _, states, frames = py_grad.shape
    regular = px_grad.shape[2] == frames + 1
    symbols_B1, frames_B1 = boundary[:, 2:3], boundary[:, 3:4]
    if regular:
        s_range = max(s_range, int((-(-symbols_B1 // frames_B1)).max()) + 1)
    s_range = min(s_range, states)
    # Blanks used within the window, less what comes into its first state from below.
    inside_BWT = py_grad.unfold(1, s_range, 1).sum(dim=3)
    entering_BUT = F.pad(px_grad[:, :, :frames], (0, 0, 1, 0))
    start_BT = (inside_BWT - entering_BUT[:, : states - s_range + 1]).argmax(dim=1)
    time_T = torch.arange(frames, device=py_grad.device)
    last_B1 = (symbols_B1 - s_range + 1).clamp(min=0)
    start_BT = torch.where(time_T < frames_B1 - 1, start_BT, last_B1)
    start_BT = _without_gaps(start_BT, s_range - 1 if regular else 1)
    return start_BT[..., None] + torch.arange(s_range, device=py_grad.device)


def do_rnnt_pruning(am_BTC: Tensor, lm_BUC: Tensor, ranges_BTR: Tensor) -> tuple[Tensor, Tensor]:
    """Encoder and decoder outputs of the states that were kept, both (B, T, R, C).

    Raises:
        LossInputError: shapes that do not fit.
    """
    if am_BTC.dim() != 3 or lm_BUC.dim() != 3 or am_BTC.shape[::2] != lm_BUC.shape[::2]:
        raise LossInputError(
            f"am is {shape_text(am_BTC)}, lm {shape_text(lm_BUC)}; they must be (batch, frames, "
            "channels) and (batch, symbols+1, channels) with the same channels"
        )
    batch, frames, _ = am_BTC.shape
    states = lm_BUC.shape[1]
    _check_ranges(ranges_BTR, batch, frames, states - 1)
    first_B11 = torch.arange(batch, device=lm_BUC.device)[:, None, None] * states
    # A look-up: its gradient has lm's size, that of an expanded gather B·T·U·C.
    lm_BTRC = F.embedding(ranges_BTR.long() + first_B11, lm_BUC.flatten(0, 1))
    return am_BTC[:, :, None].expand(lm_BTRC.shape), lm_BTRC


def _without_gaps(start_BT: Tensor, step: int) -> Tensor:
    """Starts that never fall and never rise by more than ``step``, from 0."""
    climb_T = step * torch.arange(start_BT.shape[1], device=start_BT.device)
    slack_BT = climb_T - _rising(start_BT)
    return climb_T - _rising(slack_BT).clamp(min=0)


def _rising(x_BT: Tensor) -> Tensor:
    """The largest sequence below ``x`` that never falls."""
    return x_BT.flip(1).cummin(dim=1).values.flip(1)


def _lattice(
    logits: Tensor, symbols_BS: Tensor, boundary: Tensor | None, blank: int, rnnt_type: str
) -> Lattice:
    if logits.dim() != 4:
        raise LossInputError(
            f"logits are {shape_text(logits)}; they must have the shape (batch, frames, states, "
            "vocabulary)"
        )
    return Lattice.of(
        symbols_BS, boundary, frames=logits.shape[1], vocabulary=logits.shape[3], blank=blank,
        rnnt_type=rnnt_type,
    )  # fmt: skip


def _check_ranges(ranges_BTR: Tensor, batch: int, frames: int, symbols: int) -> None:
    fits = ranges_BTR.dim() == 3 and ranges_BTR.shape[:2] == (batch, frames)
    if not fits or ranges_BTR.is_floating_point():
        raise LossInputError(
            f"ranges are {ranges_BTR.dtype} {shape_text(ranges_BTR)}; they must be whole numbers "
            f"with the shape ({batch}, {frames}, states kept)"
        )
    if ((ranges_BTR < 0) | (ranges_BTR > symbols)).any():
        raise LossInputError(
            f"ranges lie in {int(ranges_BTR.min())}..{int(ranges_BTR.max())}, but there are states "
            f"0..{symbols}; take them from the simple loss of the same batch"
        )


def _check_occupancies(px_grad: Tensor, py_grad: Tensor, boundary: Tensor) -> None:
    if py_grad.dim() == 3:
        batch, states, frames = py_grad.shape
        expected = ((batch, states - 1, frames), (batch, states - 1, frames + 1))
        if tuple(px_grad.shape) in expected and boundary.shape == (batch, 4):
            return
    raise LossInputError(
        f"occupancies are {shape_text(px_grad)} and {shape_text(py_grad)}, boundary "
        f"{shape_text(boundary)}; they must come from the simple loss of one batch"
    )
