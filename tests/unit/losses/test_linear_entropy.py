"""The fused classifier against autograd."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from espnet_kd.losses import linear_entropy


@pytest.mark.parametrize("rows_at_a_time", [1, 3, 100])
def test_values_and_gradients(rows_at_a_time, monkeypatch):
    monkeypatch.setattr(linear_entropy, "_CHUNK_FLOATS", rows_at_a_time * 12)
    generator = torch.Generator().manual_seed(0)
    shapes = ((7, 5), (12, 5), (12,))
    ours = [torch.randn(s, generator=generator).double().requires_grad_() for s in shapes]
    theirs = [part.detach().clone().requires_grad_() for part in ours]
    codes_VM = torch.randint(4, (7, 3), generator=generator)
    codes_VM[2, 1] = codes_VM[6] = -100
    loss = linear_entropy.linear_entropy_sum(*ours, codes_VM, -100)
    scores = F.linear(*theirs).view(-1, 4)
    wanted = F.cross_entropy(scores, codes_VM.flatten(), ignore_index=-100, reduction="sum")
    torch.testing.assert_close(loss, wanted)
    (3 * loss).backward()
    (3 * wanted).backward()
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our.grad, their.grad)


def test_only_what_needs_a_gradient_gets_one():
    x, weight, bias = torch.randn(2, 3), torch.randn(4, 3, requires_grad=True), torch.zeros(4)
    codes = torch.tensor([[0], [3]])
    linear_entropy.linear_entropy_sum(x, weight, bias, codes, -100).backward()
    assert weight.grad.any()
    assert x.grad is None
    assert not linear_entropy.linear_entropy_sum(
        x, weight.detach(), bias, codes, -100
    ).requires_grad
