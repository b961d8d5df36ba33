"""Pruned lattices: the paths that are left, windows that can be followed, gradients, errors."""

from __future__ import annotations

import pytest
import torch
from lattices import by_enumeration, random
from torch import Tensor

from espnet_kd.losses import LossInputError
from espnet_kd.losses.transducer import (
    do_rnnt_pruning,
    get_rnnt_prune_ranges,
    rnnt_loss,
    rnnt_loss_pruned,
    rnnt_loss_simple,
)
from espnet_kd.losses.transducer.lattice import RNNT_TYPES

FRAMES, SYMBOLS, VOCABULARY, WIDTH = 7, 4, 6, 3
TRANSCRIPTS = torch.tensor([[1, 4, 4, 5], [2, 3, 1, 1], [5, 1, -1, -1], [-1, -1, -1, -1]])
BOUNDARY = torch.tensor([[0, 0, 4, 7], [0, 0, 4, 5], [0, 0, 2, 6], [0, 0, 0, 3]])


def ranges_of(rnnt_type: str, s_range: int, seed: int = 0) -> Tensor:
    lm = 3 * random(4, SYMBOLS + 1, VOCABULARY, seed=seed)
    am = 3 * random(4, FRAMES, VOCABULARY, seed=seed + 100)
    found = rnnt_loss_simple(lm, am, TRANSCRIPTS, boundary=BOUNDARY, rnnt_type=rnnt_type)
    return get_rnnt_prune_ranges(found.px_grad, found.py_grad, BOUNDARY, s_range)


@pytest.mark.parametrize("rnnt_type", RNNT_TYPES)
@pytest.mark.parametrize("s_range", [2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_windows_can_be_followed(rnnt_type: str, s_range: int, seed: int) -> None:
    ranges = ranges_of(rnnt_type, s_range, seed)
    assert ranges.shape == (4, FRAMES, s_range)
    assert torch.equal(ranges - ranges[..., :1], torch.arange(s_range).expand_as(ranges))
    start = ranges[..., 0]
    steps = start.diff(dim=1)
    assert not start[:, 0].any()
    assert int(steps.min()) >= 0
    assert int(steps.max()) <= (s_range - 1 if rnnt_type == "regular" else 1)
    for row, (_, _, symbols, frames) in enumerate(BOUNDARY.tolist()):
        assert symbols in ranges[row, frames - 1].tolist()


def test_windows_hold_most_of_the_paths() -> None:
    """The best window of three states, one symbol per frame: nothing is lost."""
    symbols = torch.tensor([[1, 2, 3, 4]])
    am = torch.full((1, 8, 5), -20.0)
    for frame, label in enumerate([0, 1, 2, 0, 3, 0, 4, 0]):
        am[0, frame, label] = 20.0
        am[0, frame, 0] = 19.0
    lm = torch.zeros(1, 5, 5)
    found = rnnt_loss_simple(lm, am, symbols)
    whole = torch.tensor([[0, 0, 4, 8]])
    ranges = get_rnnt_prune_ranges(found.px_grad, found.py_grad, whole, 3)
    logits = (am[:, :, None] + lm[:, None]).gather(2, ranges[..., None].expand(-1, -1, -1, 5))
    pruned = rnnt_loss_pruned(logits, symbols, ranges)
    torch.testing.assert_close(pruned, found.loss, rtol=0, atol=1e-2)


@pytest.mark.parametrize("rnnt_type", RNNT_TYPES)
def test_equals_the_sum_over_the_paths_that_are_left(rnnt_type: str) -> None:
    logits = random(4, FRAMES, SYMBOLS + 1, VOCABULARY)
    ranges = ranges_of(rnnt_type, 3)
    kept = logits.gather(2, ranges[..., None].expand(-1, -1, -1, VOCABULARY))
    found = rnnt_loss_pruned(
        kept, TRANSCRIPTS, ranges, boundary=BOUNDARY, rnnt_type=rnnt_type, delay_penalty=0.1,
        reduction="none",
    )  # fmt: skip
    expected = [
        by_enumeration(
            logits[row, :frames, : symbols + 1], TRANSCRIPTS[row, :symbols].tolist(),
            rnnt_type=rnnt_type, delay_penalty=0.1, kept=ranges[row].tolist(),
        )
        for row, (_, _, symbols, frames) in enumerate(BOUNDARY.tolist())
        if rnnt_type != "constrained"
    ]  # fmt: skip
    if expected:
        torch.testing.assert_close(found, torch.stack(expected))
    else:  # a symbol's blank of the next state has to be within the window too
        assert torch.isfinite(found).all()


@pytest.mark.parametrize("rnnt_type", RNNT_TYPES)
def test_all_states_are_the_full_lattice(rnnt_type: str) -> None:
    logits = random(4, FRAMES, SYMBOLS + 1, VOCABULARY)
    ranges = ranges_of(rnnt_type, 10)
    assert ranges.shape == (4, FRAMES, SYMBOLS + 1)
    options = {"boundary": BOUNDARY, "rnnt_type": rnnt_type}
    pruned = rnnt_loss_pruned(logits, TRANSCRIPTS, ranges, **options)
    torch.testing.assert_close(pruned, rnnt_loss(logits, TRANSCRIPTS, **options))


def test_more_symbols_than_the_windows_could_follow_widen_them() -> None:
    symbols = torch.tensor([[1, 2, 3, 4, 5, 6, 7]])
    found = rnnt_loss_simple(random(1, 8, 9), random(1, 2, 9), symbols)
    whole = torch.tensor([[0, 0, 7, 2]])
    ranges = get_rnnt_prune_ranges(found.px_grad, found.py_grad, whole, 2)
    assert ranges.shape == (1, 2, 5)
    assert torch.isfinite(rnnt_loss_pruned(random(1, 2, 5, 9), symbols, ranges))


def test_gradients_through_pruning() -> None:
    ranges = ranges_of("regular", 3)
    weight = random(VOCABULARY, WIDTH, seed=3)

    def loss(am: Tensor, lm: Tensor) -> Tensor:
        kept_am, kept_lm = do_rnnt_pruning(am, lm, ranges)
        logits = torch.tanh(kept_am + kept_lm) @ weight.T
        return rnnt_loss_pruned(logits, TRANSCRIPTS, ranges, boundary=BOUNDARY)

    am = random(4, FRAMES, WIDTH).requires_grad_()
    lm = random(4, SYMBOLS + 1, WIDTH, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(loss, (am, lm), fast_mode=True)


def test_pruning_picks_each_frames_states() -> None:
    ranges = ranges_of("regular", 2)
    am, lm = random(4, FRAMES, WIDTH), random(4, SYMBOLS + 1, WIDTH, seed=1)
    kept_am, kept_lm = do_rnnt_pruning(am, lm, ranges.int())
    assert kept_am.shape == kept_lm.shape == (4, FRAMES, 2, WIDTH)
    for row, frame, place in ((0, 0, 0), (1, 3, 1), (3, 6, 0)):
        assert torch.equal(kept_am[row, frame, place], am[row, frame])
        assert torch.equal(kept_lm[row, frame, place], lm[row, ranges[row, frame, place]])


def test_wrong_ranges() -> None:
    ranges, logits = ranges_of("regular", 2), random(4, FRAMES, 2, VOCABULARY)
    for wrong, message in (
        (ranges + 4, "0..4"),
        (ranges - 1, "0..4"),
        (ranges[:, 1:], r"shape \(4, 7, states kept\)"),
        (ranges.double(), "whole numbers"),
        (ranges[..., :1], "logits: "),
    ):
        with pytest.raises(LossInputError, match=message):
            rnnt_loss_pruned(logits, TRANSCRIPTS, wrong, boundary=BOUNDARY)


def test_wrong_pruning_input() -> None:
    px, py = random(4, SYMBOLS, FRAMES + 1), random(4, SYMBOLS + 1, FRAMES)
    with pytest.raises(LossInputError, match="fewer than 2"):
        get_rnnt_prune_ranges(px, py, BOUNDARY, 1)
    for wrong in ((px[:, 1:], py, BOUNDARY), (px, py[0], BOUNDARY), (px, py, BOUNDARY[:2])):
        with pytest.raises(LossInputError, match="simple loss of one batch"):
            get_rnnt_prune_ranges(*wrong, 3)
    ranges = ranges_of("regular", 2)
    am, lm = random(4, FRAMES, WIDTH), random(4, SYMBOLS + 1, WIDTH)
    with pytest.raises(LossInputError, match="same channels"):
        do_rnnt_pruning(am, lm[..., 1:], ranges)
