"""nn.LSTM over packed sequences, trained on a CPU in less time: same weights, same results.

On a CPU torch records a packed LSTM frame by frame. Its backward pass then makes, for every frame,
a tensor of the size of all frames' gates, filled with zeros, and adds it up (the gradient of a
slice), and one gradient of the whole recurrent matrix: time that grows with the square of the
length. Here a layer's recurrence is one function with its own backward pass, and the gradient of
the recurrent matrix one multiplication at its end. Results equal torch's up to rounding.
This file needs torch only.

Legend: B sequences, N frames of all of them (packed: the first frames of all sequences, then the
second ones, ...), T frames of the longest, I inputs, H hidden width, G = 4 H sums of the gates
(input, forget, cell, output), K rows and J columns of a matrix.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

States: TypeAlias = tuple[Tensor, Tensor]
"""Hidden and cell states, (layers × directions, B, H) each."""

BLOCK = 256
"""Columns of a block: 1024 × 256 numbers of 4 bytes, as much as a second-level cache holds."""
WORTH_CUTTING = 48
"""Frames from which cutting a matrix into blocks saves more time than it takes."""


class QuickLSTM(nn.LSTM):
    """``nn.LSTM`` with another way to gradients of packed sequences on a CPU.

    All else is torch's own: padded sequences, other devices, half precision, projections, and
    whatever runs without gradients, so that a checkpoint scores the same to the last bit.
    Constructor, parameters and state dict are those of ``nn.LSTM``.
    """

    def forward(self, input: Any, hx: States | None = None) -> tuple[Any, States]:  # noqa: A002
        """As ``nn.LSTM.forward``: (outputs, last hidden and cell states)."""
        if not self._suits(input):
            result: tuple[Any, States] = super().forward(input, hx)  # type: ignore[has-type]
            return result
        data_NI, sizes_T, order_B, back_B = input
        if hx is not None:
            self.check_forward_args(data_NI, hx, sizes_T)
            hx = self.permute_hidden(hx, order_B)
        output_NH, states = self._layers(data_NI, sizes_T.tolist(), hx)
        packed = PackedSequence(output_NH, sizes_T, order_B, back_B)
        return packed, self.permute_hidden(states, back_B)

    def _suits(self, sequence: Any) -> bool:
        packed = isinstance(sequence, PackedSequence) and self.proj_size == 0
        if not packed or not torch.is_grad_enabled():
            return False
        data = sequence.data
        known = data.device.type == "cpu" and data.dtype in (torch.float32, torch.float64)
        same = data.dtype == self.weight_hh_l0.dtype and data.shape[-1] == self.input_size
        return known and same and not torch.is_autocast_enabled("cpu") and not _is_traced()

    def _layers(self, x_NI: Tensor, sizes: list[int], hx: States | None) -> tuple[Tensor, States]:
        directions = ("", "_reverse") if self.bidirectional else ("",)
        last: list[list[Tensor]] = []
        for layer in range(self.num_layers):
            if layer > 0 and self.dropout > 0:
                x_NI = F.dropout(x_NI, self.dropout, self.training)
            outputs = []
            for suffix in directions:
                given = None if hx is None else (hx[0][len(last)], hx[1][len(last)])
                output_NH, *states = self._direction(x_NI, sizes, given, f"l{layer}{suffix}")
                outputs.append(output_NH)
                last.append(states)
            x_NI = torch.cat(outputs, 1) if len(outputs) > 1 else outputs[0]
        hidden, cell = (torch.stack(states) for states in zip(*last, strict=True))
        return x_NI, (hidden, cell)

    def _direction(
        self, x_NI: Tensor, sizes: list[int], given: States | None, name: str
    ) -> tuple[Tensor, Tensor, Tensor]:
        weights = getattr(self, f"weight_ih_{name}"), getattr(self, f"weight_hh_{name}")
        bias = None
        if self.bias:
            bias = getattr(self, f"bias_ih_{name}") + getattr(self, f"bias_hh_{name}")
        if given is None:
            zeros_BH = x_NI.new_zeros(sizes[0], self.hidden_size)
            given = zeros_BH, zeros_BH
        result: tuple[Tensor, Tensor, Tensor] = _Recurrence.apply(  # type: ignore[no-untyped-call]
            x_NI, *weights, bias, *given, sizes, name.endswith("_reverse")
        )
        return result


def _is_traced() -> bool:
    traced: bool = torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]
    return traced or torch.compiler.is_compiling()


class _Recurrence(torch.autograd.Function):
    """One layer in one direction: (N, I) to outputs (N, H) and the last states (B, H)."""

    @staticmethod
    def forward(
        ctx: Any,
        x_NI: Tensor,
        w_ih: Tensor,
        w_hh: Tensor,
        bias: Tensor | None,
        h0_BH: Tensor,
        c0_BH: Tensor,
        sizes: list[int],
        reverse: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        gates_NG = F.linear(x_NI, w_ih, bias)
        ctx.spans = _spans(sizes, reverse)
        h_BH, c_BH = h0_BH.clone(), c0_BH.clone()
        # What enters each frame; the states themselves go on in place.
        output_NH, *entering = (gates_NG.new_empty(len(x_NI), w_hh.shape[1]) for _ in range(3))
        product = _Product(w_hh.t(), len(sizes))
        for begin, end in ctx.spans:
            h, c = h_BH[: end - begin], c_BH[: end - begin]
            entering[0][begin:end] = h
            entering[1][begin:end] = c
            gates = gates_NG[begin:end]
            product.add(gates, h)
            i, f, g, o = _activate(gates)
            c.mul_(f).addcmul_(i, g)
            torch.mul(o, c.tanh(), out=h)
            output_NH[begin:end] = h
        ctx.save_for_backward(x_NI, w_ih, w_hh, gates_NG, *entering)
        return output_NH, h_BH, c_BH

    @staticmethod
    @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator]
    def backward(
        ctx: Any, d_output_NH: Tensor, d_h_BH: Tensor, d_c_BH: Tensor
    ) -> tuple[Tensor | None, ...]:
        x_NI, w_ih, w_hh, gates_NG, h_NH, c_NH = ctx.saved_tensors
        d_gates_NG = torch.empty_like(gates_NG)
        d_h_BH, d_c_BH = d_h_BH.clone(), d_c_BH.clone()
        product = _Product(w_hh, len(ctx.spans))
        for begin, end in reversed(ctx.spans):
            d_h, d_c = d_h_BH[: end - begin], d_c_BH[: end - begin]
            d_h += d_output_NH[begin:end]
            d_gates = d_gates_NG[begin:end]
            _gradients(gates_NG[begin:end], c_NH[begin:end], d_h, d_c, d_gates)
            product.add(d_h.zero_(), d_gates)
        needs = ctx.needs_input_grad
        return (
            d_gates_NG @ w_ih if needs[0] else None,
            d_gates_NG.t() @ x_NI if needs[1] else None,
            d_gates_NG.t() @ h_NH if needs[2] else None,
            d_gates_NG.sum(0) if needs[3] else None,
            d_h_BH,
            d_c_BH,
            None,
            None,
        )


def _spans(sizes: list[int], reverse: bool) -> list[tuple[int, int]]:
    """Rows of the packed data of each frame, in the order in which the direction visits them."""
    spans, begin = [], 0
    for size in sizes:
        spans.append((begin, begin + size))
        begin += size
    return spans[::-1] if reverse else spans


def _split(gates_BG: Tensor) -> tuple[Tensor, ...]:
    """The four gates of some rows, as views."""
    return gates_BG.view(len(gates_BG), 4, -1).unbind(1)


def _activate(gates_BG: Tensor) -> tuple[Tensor, ...]:
    """Input, forget, cell and output gate, from sums in place."""
    width = gates_BG.shape[1] // 4
    gates_BG[:, : 2 * width].sigmoid_()
    gates_BG[:, 2 * width : 3 * width].tanh_()
    gates_BG[:, 3 * width :].sigmoid_()
    return _split(gates_BG)


def _gradients(
    gates_BG: Tensor, c_BH: Tensor, d_h_BH: Tensor, d_c_BH: Tensor, d_gates_BG: Tensor
) -> None:
    """Fill the gradient of the gates' sums, and make ``d_c_BH`` that of the cell before.

    Args:
        gates_BG: activated gates.
        c_BH: cell before the frame.
        d_h_BH: gradient of the hidden state after it.
        d_c_BH: likewise of the cell.
        d_gates_BG: is filled.
    """
    i, f, g, o = _split(gates_BG)
    d_i, d_f, d_g, d_o = _split(d_gates_BG)
    tanh_c = (f * c_BH).addcmul_(i, g).tanh_()
    sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
    tanh_backward = torch.ops.aten.tanh_backward.grad_input
    sigmoid_backward(d_h_BH * tanh_c, o, grad_input=d_o)
    d_c_BH += torch.ops.aten.tanh_backward(d_h_BH * o, tanh_c)
    sigmoid_backward(d_c_BH * g, i, grad_input=d_i)
    sigmoid_backward(d_c_BH * c_BH, f, grad_input=d_f)
    tanh_backward(d_c_BH * i, g, grad_input=d_g)
    d_c_BH *= f


class _Product:
    """Products of a few rows with one matrix, again and again.

    The matrix is cut into blocks of columns that lie together: with up to some tens of rows MKL
    takes a quarter to a half less time for them than for the whole.

    Args:
        weight_KJ: the matrix.
        times: how many products there will be.
    """

    def __init__(self, weight_KJ: Tensor, times: int) -> None:
        columns = weight_KJ.shape[1]
        self.weight_KJ = weight_KJ
        self.blocks: Tensor | None = None
        if columns % BLOCK == 0 and times >= WORTH_CUTTING:
            cut_KCJ = weight_KJ.reshape(len(weight_KJ), -1, BLOCK)
            self.blocks = cut_KCJ.transpose(0, 1).contiguous()

    def add(self, y_BJ: Tensor, x_BK: Tensor) -> None:
        """Add the product with ``x_BK`` to ``y_BJ`` in place."""
        if self.blocks is None or len(x_BK) == 1:
            y_BJ.addmm_(x_BK, self.weight_KJ)
            return
        parts = torch.bmm(x_BK.expand(len(self.blocks), -1, -1), self.blocks)
        y_BJ.view(len(y_BJ), -1, BLOCK).add_(parts.transpose(0, 1))


def replace_lstm(module: nn.Module) -> int:
    """Let every ``nn.LSTM`` in a module compute as :class:`QuickLSTM` does; returns how many.

    The objects, their parameters and their names stay; subclasses of ``nn.LSTM`` are left alone.
    """
    found = [child for child in module.modules() if type(child) is nn.LSTM]
    for child in found:
        child.__class__ = QuickLSTM
    return len(found)


TASKS = ("asr", "ctc")
"""S3PRL's tasks whose head may be an LSTM over packed sequences (ASR, SF)."""


def train_quickly(
    get_downstream: Callable[[Any], Any], wanted: bool = True
) -> Callable[[Any], Any]:
    """Wrap ``Runner._get_downstream`` so that LSTMs of :data:`TASKS` train quickly on a CPU."""

    def quick(runner: Any) -> Any:
        entry = get_downstream(runner)
        args = runner.args
        on_cpu = str(args.device).startswith("cpu")
        if wanted and on_cpu and args.mode == "train" and args.downstream in TASKS:
            _say(replace_lstm(entry.model))
        return entry

    return quick


def _say(count: int) -> None:
    if count > 0:
        line = f"{count} nn.LSTM train by our backward pass, equal to torch's up to rounding"
        print(f"[espnet_kd] {line} (--no_quick_lstm: torch's own)", file=sys.stderr)
