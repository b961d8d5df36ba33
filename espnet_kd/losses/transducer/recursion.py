"""Sum over all paths of a transducer lattice, and how often each arc is used.

A path goes from state (0, 0) to (S_b, T_b). In (s, t) the arc ``px[s, t]`` writes symbol s, the arc
``py[s, t]`` goes to the next frame; both are log-probabilities::

    regular:             p[s, t] = logadd(p[s-1, t] + px[s-1, t],   p[s, t-1] + py[s, t-1])
    modified:            p[s, t] = logadd(p[s-1, t-1] + px[s-1, t-1], p[s, t-1] + py[s, t-1])

States fall into layers, each of which depends on the one before it alone: anti-diagonals s + t in
the regular lattice, frames in the modified one. The loop runs over layers, all states of a layer
and all utterances at once. It works in float64: losses of long utterances are thousands of nats, of
which float32 would leave arcs uncertain by a thousandth.

Gradients are the arcs' occupancies. They are found by sharing each state's occupancy out among the
arcs that enter it, from the last layer to the first: ratios of sums of probabilities, nothing that
could overflow.

Shapes: B batch, S symbols, U = S + 1 states of a frame, T frames, X = T + 1 (regular) or T, L
layers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

NEVER = float("-inf")


def mutual_information_recursion(
    px_BSX: Tensor, py_BUT: Tensor, boundary: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probability of every utterance and the occupancies of its arcs.

    Args:
        px_BSX: symbol arcs. X = T + 1 makes the lattice regular; ``px[..., T_b]`` must be -inf
            then. X = T makes it modified.
        py_BUT: blank arcs.
        boundary: (B, 4) rows ``[0, 0, S_b, T_b]``; None: all of S and T.

    Returns:
        Scores (B,), through which gradients flow; occupancies of px and py, through which none do.
        An utterance without any path has the score -inf and occupancies of 0.
    """
    if boundary is None:
        batch, states, frames = py_BUT.shape
        boundary = torch.tensor([[0, 0, states - 1, frames]], device=py_BUT.device)
        boundary = boundary.expand(batch, 4)
    found: tuple[Tensor, Tensor, Tensor] = _Paths.apply(px_BSX, py_BUT, boundary)  # type: ignore[no-untyped-call]
    return found


class _Paths(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, px_BSX: Tensor, py_BUT: Tensor, boundary: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        layers = _Layers(px_BSX, py_BUT, boundary)
        score_B = layers.score().to(py_BUT.dtype)
        px_grad, py_grad = layers.occupancies()
        px_grad, py_grad = px_grad.to(px_BSX.dtype), py_grad.to(py_BUT.dtype)
        ctx.save_for_backward(px_grad, py_grad)
        ctx.mark_non_differentiable(px_grad, py_grad)
        return score_B, px_grad, py_grad

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(
        ctx: Any, grad_B: Tensor, _px_grad: Tensor, _py_grad: Tensor
    ) -> tuple[Tensor, Tensor, None]:
        px_grad, py_grad = ctx.saved_tensors
        return grad_B[:, None, None] * px_grad, grad_B[:, None, None] * py_grad, None


class _Layers:
    """Both arcs of all states, layer by layer, in memory that is used again and again.

    ``x_LBU[l, b, u]`` is the symbol arc from layer l that *enters* state u, ``y_LBU[l, b, u]`` the
    blank arc: first their log-probability, then with all that came before, then their share of the
    state that they enter, at last their occupancy.
    """

    def __init__(self, px_BSX: Tensor, py_BUT: Tensor, boundary: Tensor) -> None:
        batch, states, frames = py_BUT.shape
        self.regular = px_BSX.shape[2] == frames + 1
        self.shapes = (px_BSX.shape, py_BUT.shape)
        self.ends_B = boundary[:, 2].long()
        self.last_layer_B = boundary[:, 3].long() + (self.ends_B if self.regular else 0)
        self.rows_B = torch.arange(batch, device=py_BUT.device)
        num_layers = frames + (states - 1 if self.regular else 0)
        self.x_LBU = torch.full(
            (num_layers, batch, states), NEVER, dtype=torch.float64, device=py_BUT.device
        )
        self.y_LBU = torch.full_like(self.x_LBU, NEVER)
        self._px_view().copy_(px_BSX)
        self._py_view().copy_(py_BUT)
        # One more layer than arcs, and one more state, which no path reaches.
        self.states = self.x_LBU.new_full((num_layers + 1, batch, states + 1), NEVER)

    def _view(self, x_LBU: Tensor, shape: torch.Size, offset: int) -> Tensor:
        """(batch, state, frame) of something laid out by layers, without a copy."""
        _, batch, states = x_LBU.shape
        layer = batch * states
        return x_LBU.as_strided(shape, (states, layer + 1 if self.regular else 1, layer), offset)

    def _px_view(self) -> Tensor:
        return self._view(self.x_LBU, self.shapes[0], 1)

    def _py_view(self) -> Tensor:
        return self._view(self.y_LBU, self.shapes[1], 0)

    def score(self) -> Tensor:
        """Forward pass: log-probability of the final state, (B,)."""
        self.states[0, :, 1] = 0.0
        before, after = self.states[:, :, :-1].unbind(), self.states[:, :, 1:].unbind()
        arcs = zip(self.x_LBU.unbind(), self.y_LBU.unbind(), strict=True)
        for layer, (x_BU, y_BU) in enumerate(arcs):
            x_BU.add_(before[layer])
            y_BU.add_(after[layer])
            torch.logaddexp(x_BU, y_BU, out=after[layer + 1])
        score_B: Tensor = self.states[self.last_layer_B, self.rows_B, self.ends_B + 1]
        return score_B

    def occupancies(self) -> tuple[Tensor, Tensor]:
        """Backward pass, after :meth:`score`: occupancies of px and py in their own layout."""
        entered_LBU = self.states[1:, :, 1:]
        unreached_LBU = entered_LBU == NEVER
        for arcs_LBU in (self.x_LBU, self.y_LBU):
            arcs_LBU.sub_(entered_LBU).exp_().masked_fill_(unreached_LBU, 0.0)
        self.states.zero_()
        self.states[self.last_layer_B, self.rows_B, self.ends_B] = 1.0
        entered, left = self.states[:, :, :-1].unbind(), self.states[:, :, :-2].unbind()
        arcs = list(zip(self.x_LBU.unbind(), self.y_LBU.unbind(), strict=True))
        for layer in range(len(arcs) - 1, -1, -1):
            x_BU, y_BU = arcs[layer]
            x_BU.mul_(entered[layer + 1])
            y_BU.mul_(entered[layer + 1])
            entered[layer].add_(y_BU)
            left[layer].add_(x_BU[:, 1:])
        return self._px_view(), self._py_view()
