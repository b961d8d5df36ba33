"""The search against a plain transcription of the procedure, with vectors of full width."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from espnet_kd.quantizer.centres import Centres
from espnet_kd.quantizer.levels import kept_options, options_per_level
from espnet_kd.quantizer.refine import refine

CASES = [(1, 16), (2, 2), (4, 4), (8, 16), (2, 64), (8, 32), (16, 16), (3, 16), (6, 10), (7, 20)]


def _problem(number: int, size: int, rows: int = 24) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(number * size)
    centres_NKD = torch.randn(number, size, 12, generator=generator, dtype=torch.float64)
    centres_NKD += torch.randn(number, 1, 12, generator=generator, dtype=torch.float64)
    x_BD = centres_NKD.mean(1).sum(0) + 2 * torch.randn(
        rows, 12, generator=generator, dtype=torch.float64
    )
    codes_BN = torch.randint(size, (rows, number), generator=generator)
    return centres_NKD, x_BD, codes_BN


def _slow_pass(centres_NKD: Tensor, x_D: Tensor, codes: list[int]) -> list[int]:
    """The procedure for one vector; groups hold (cost, change, codes)."""
    size = centres_NKD.shape[1]
    old = torch.stack([centres_NKD[n, k] for n, k in enumerate(codes)])
    error_D = old.sum(0) - x_D
    groups = [
        [
            (float((error_D - old[n] + entry).square().sum()), entry - old[n], [k])
            for k, entry in enumerate(centres_NKD[n])
        ]
        for n in range(len(codes))
    ]
    # Blocks of a power of two each, 6 = 4 + 2; then the smaller ones join the larger ones.
    lengths = [length for length in (16, 8, 4, 2, 1) if len(codes) & length]
    blocks = []
    for length in lengths:
        last = 1 if length == len(codes) else kept_options(size, length)
        blocks.append(_slow_block(groups[:length], error_D, size, last))
        groups = groups[length:]
    while len(blocks) > 1:
        both = _slow_merge(*blocks[-2:], error_D)
        last = 1 if len(blocks) == 2 else kept_options(size, len(both[0][2]))
        blocks[-2:] = [sorted(both, key=lambda option: option[0])[:last]]
    return blocks[0][0][2]


def _slow_merge(left, right, error_D):
    return [
        (float((error_D + da + db).square().sum()), da + db, ka + kb)
        for _, da, ka in left
        for _, db, kb in right
    ]


def _slow_block(groups, error_D, size: int, last: int):
    while len(groups) > 1 or len(groups[0]) > last:
        width = kept_options(size, len(groups[0][0][2]))
        if len(groups[0]) > width or len(groups) == 1:
            keep = width if len(groups) > 1 else last
            groups = [sorted(group, key=lambda option: option[0])[:keep] for group in groups]
            continue
        pairs = zip(groups[0::2], groups[1::2], strict=True)
        groups = [_slow_merge(left, right, error_D) for left, right in pairs]
    return groups[0]


@pytest.mark.parametrize(("number", "size"), CASES)
def test_both_forms_follow_the_procedure(number, size):
    centres_NKD, x_BD, codes_BN = _problem(number, size)
    wanted = [
        _slow_pass(centres_NKD, x_D, codes)
        for x_D, codes in zip(x_BD, codes_BN.tolist(), strict=True)
    ]
    plain = refine(Centres.of(centres_NKD), x_BD, codes_BN, 1)
    assert plain.tolist() == wanted
    compiled = refine(Centres.of(centres_NKD.float()), x_BD.float(), codes_BN, 1)
    assert compiled.tolist() == wanted


@pytest.mark.parametrize("compiled", [True, False])
def test_rows_that_stand_still_are_left_out_exactly(compiled):
    centres_NKD, x_BD, codes_BN = (
        t.float() if t.is_floating_point() else t for t in _problem(8, 16)
    )
    centres = Centres.of(centres_NKD)
    step_by_step = codes_BN
    for _ in range(4):
        step_by_step = refine(centres, x_BD, step_by_step, 1, compiled=compiled)
    assert torch.equal(refine(centres, x_BD, codes_BN, 4, compiled=compiled), step_by_step)
    assert not torch.equal(step_by_step, codes_BN)


@pytest.mark.parametrize("compiled", [True, False])
def test_the_best_codes_are_kept_on_request(compiled):
    centres_NKD, x_BD, codes_BN = _problem(16, 16, rows=60)
    centres, x_BD = Centres.of(centres_NKD.float()), x_BD.float()

    def errors_of(iters, **options):
        found = refine(centres, x_BD, codes_BN, iters, compiled=compiled, **options)
        return centres.square_error(x_BD, found)

    errors = torch.stack([errors_of(iters) for iters in range(6)])
    assert bool((errors[5] > errors.amin(0)).any()), "a case where passes do harm"
    torch.testing.assert_close(errors_of(5, keep_best=True), errors.amin(0))


@pytest.mark.parametrize(("number", "size"), [(4, 64), (8, 256), (32, 16)])
def test_five_passes_of_both_forms_agree(number, size):
    """The compiled one updates its slopes from pass to pass and forgets centres out of use."""
    centres_NKD, x_BD, codes_BN = _problem(number, size)
    plain = refine(Centres.of(centres_NKD), x_BD, codes_BN, 5)
    compiled = refine(Centres.of(centres_NKD.float()), x_BD.float(), codes_BN, 5)
    assert torch.equal(compiled, plain)


@pytest.mark.parametrize("compiled", [True, False])
def test_of_equal_centres_the_first_is_taken(compiled):
    centres_NKD, x_BD, codes_BN = _problem(4, 8)
    twice_NKD = torch.cat([centres_NKD, centres_NKD], dim=1).float()
    codes_BN = refine(Centres.of(twice_NKD), x_BD.float(), codes_BN, 3, compiled=compiled)
    assert int(codes_BN.max()) < 8


def test_no_vectors_and_no_passes():
    centres_NKD, x_BD, codes_BN = _problem(4, 8)
    centres = Centres.of(centres_NKD)
    assert refine(centres, x_BD[:0], codes_BN[:0], 3).shape == (0, 4)
    assert torch.equal(refine(centres, x_BD, codes_BN, 0), codes_BN)


def test_error_in_a_group_of_products_equals_that_of_vectors():
    centres_NKD, x_BD, codes_BN = _problem(4, 8)
    direct = sum(centres_NKD[n, codes_BN[:, n]] for n in range(4)) - x_BD
    found = Centres.of(centres_NKD).square_error(x_BD, codes_BN)
    torch.testing.assert_close(found, direct.square().sum(1))


def test_options_kept():
    assert options_per_level(8, 256) == [16, 16, 32, 1]
    assert options_per_level(16, 16) == [8, 8, 16, 16, 1]
    assert [kept_options(256, n) for n in (1, 2, 4, 8, 16, 64, 256)] == [
        16,
        16,
        32,
        32,
        64,
        128,
        128,
    ]
