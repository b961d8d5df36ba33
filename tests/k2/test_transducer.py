"""Our transducer losses against k2's own, on random batches: values, gradients, ranges, modules.

Skipped where k2 is not installed, hence usually: PyPI's wheel is for Python 3.10 and torch 1.13
(CONTRIBUTING.md has the command). What k2 1.23.4 gave once is in the golden tests.
"""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from espnet_kd.losses import PrunedTransducerLoss, TransducerLoss
from espnet_kd.losses import transducer as ours

k2 = pytest.importorskip("k2")

BATCH, FRAMES, SYMBOLS, VOCABULARY = 3, 40, 12, 20
TYPES = ("regular", "modified", "constrained")
SEEDS = range(3)


@pytest.fixture(params=SEEDS)
def batch(request):
    """am (B, T, V), lm (B, U, V), symbols (B, S), boundary (B, 4); lengths differ."""
    generator = torch.Generator().manual_seed(request.param)
    am = 3 * torch.randn(BATCH, FRAMES, VOCABULARY, generator=generator)
    lm = 3 * torch.randn(BATCH, SYMBOLS + 1, VOCABULARY, generator=generator)
    symbols = torch.randint(1, VOCABULARY, (BATCH, SYMBOLS), generator=generator)
    boundary = torch.zeros(BATCH, 4, dtype=torch.int64)
    boundary[:, 2] = torch.tensor([SYMBOLS, 7, 1])
    boundary[:, 3] = torch.tensor([FRAMES, 31, 17])
    return am, lm, symbols, boundary


def with_gradients(loss_of, *leaves, fixed=()):
    leaves = [leaf.clone().requires_grad_() for leaf in leaves]
    loss_B = loss_of(*leaves, *fixed)
    weights_B = torch.arange(1.0, len(loss_B) + 1)
    return [loss_B.detach(), *torch.autograd.grad((loss_B * weights_B).sum(), leaves)]


def assert_same(found, wanted):
    """Values to 1e-5; gradients to 1e-4: k2's are 2e-5 from its own in float64 (ours 6e-7)."""
    for one, other in zip(found, wanted, strict=True):
        atol = 1e-5 if one.dim() < 2 else 1e-4
        torch.testing.assert_close(one, other, rtol=1e-5, atol=atol)


@pytest.mark.parametrize("rnnt_type", TYPES)
@pytest.mark.parametrize("delay", [0.0, 0.01])
def test_full_lattice(batch, rnnt_type, delay):
    am, lm, symbols, boundary = batch
    logits = torch.tanh(am[:, :, None] + lm[:, None])
    options = {"boundary": boundary, "rnnt_type": rnnt_type, "delay_penalty": delay}
    found, wanted = (
        with_gradients(partial(loss, reduction="none", **options), logits, fixed=(symbols, 0))
        for loss in (ours.rnnt_loss, k2.rnnt_loss)
    )
    assert_same(found, wanted)


@pytest.mark.parametrize("rnnt_type", TYPES)
@pytest.mark.parametrize("scales", [(0.0, 0.0), (0.25, 0.1)])
def test_simple_and_smoothed_lattice(batch, rnnt_type, scales):
    am, lm, symbols, boundary = batch
    options = {
        "lm_only_scale": scales[0], "am_only_scale": scales[1], "boundary": boundary,
        "rnnt_type": rnnt_type, "reduction": "none",
    }  # fmt: skip
    found = with_gradients(
        lambda lm, am: ours.rnnt_loss_smoothed(lm, am, symbols, 0, **options).loss, lm, am
    )
    wanted = with_gradients(
        lambda lm, am: k2.rnnt_loss_smoothed(lm, am, symbols, 0, **options), lm, am
    )
    assert_same(found, wanted)


@pytest.mark.parametrize("rnnt_type", TYPES)
@pytest.mark.parametrize("s_range", [3, 5, 20])
def test_ranges_and_pruned_lattice(batch, rnnt_type, s_range):
    am, lm, symbols, boundary = batch
    options = {"boundary": boundary, "rnnt_type": rnnt_type}
    _, occupied = k2.rnnt_loss_simple(lm, am, symbols, 0, return_grad=True, **options)
    wanted_ranges = k2.get_rnnt_prune_ranges(*occupied, boundary, s_range)
    ranges = ours.get_rnnt_prune_ranges(*occupied, boundary, s_range)
    assert torch.equal(ranges, wanted_ranges)
    assert_same(ours.do_rnnt_pruning(am, lm, ranges), k2.do_rnnt_pruning(am, lm, ranges))
    logits = torch.add(*k2.do_rnnt_pruning(am, lm, ranges)).tanh()
    found, wanted = (
        with_gradients(
            partial(loss, reduction="none", **options), logits, fixed=(symbols, ranges, 0)
        )
        for loss in (ours.rnnt_loss_pruned, k2.rnnt_loss_pruned)
    )
    assert torch.isfinite(wanted[0]).all()
    assert_same(found, wanted)


class Joiner(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.output = nn.Linear(VOCABULARY, VOCABULARY)

    def forward(self, encoder, decoder):
        return self.output(torch.tanh(encoder + decoder))


def test_modules_with_either_backend(batch):
    am, lm, symbols, boundary = batch
    joiner = Joiner()
    lengths = (boundary[:, 3], boundary[:, 2])
    logits = joiner(am[:, :, None], lm[:, None])
    full = [TransducerLoss(backend=name)(logits, symbols, *lengths) for name in ("torch", "k2")]
    pruned = [
        PrunedTransducerLoss(prune_range=4, backend=name)(am, lm, am, lm, joiner, symbols, *lengths)
        for name in ("torch", "k2")
    ]
    for found, wanted in (full, pruned):
        assert found.keys() == wanted.keys()
        assert_same(found.values(), wanted.values())
