"""Transducer losses against k2's and torchaudio's numbers: values, occupancies, ranges, gradients.

Cases are the entries of every ``rnnt*.json`` of the folder; their arrays lie beside it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from golden_cases import golden_root, params
from safetensors.torch import load_file
from torch import Tensor

from espnet_kd.losses import PrunedTransducerLoss, TransducerLoss
from espnet_kd.losses.transducer import (
    SimpleLoss,
    do_rnnt_pruning,
    get_rnnt_prune_ranges,
    rnnt_loss,
    rnnt_loss_pruned,
    rnnt_loss_smoothed,
)

pytestmark = pytest.mark.golden


class Case:
    """One lattice: its configuration and its arrays."""

    def __init__(self, config: dict[str, Any], arrays: dict[str, Tensor]) -> None:
        self.config = config
        self.arrays = arrays
        self.options = {
            "boundary": arrays["boundary"],
            "rnnt_type": config["rnnt_type"],
            "delay_penalty": config["delay_penalty"],
            "reduction": "none",
        }
        self.blank: int = config["blank"]

    def __getitem__(self, name: str) -> Tensor:
        return self.arrays[name]

    def inputs(self, *names: str) -> list[Tensor]:
        """Copies that collect gradients."""
        return [self.arrays[name].clone().requires_grad_() for name in names]

    def simple(self, name: str, lm: Tensor, am: Tensor) -> SimpleLoss:
        """The loss called ``simple`` (of both models alone no trace) or ``smoothed``."""
        scales = {key: self.config[key] for key in ("lm_only_scale", "am_only_scale")}
        if name == "simple":
            scales = dict.fromkeys(scales, 0.0)
        return rnnt_loss_smoothed(lm, am, self["symbols"], self.blank, **scales, **self.options)


def joiner(case: Case, weight: Tensor, bias: Tensor, enc: Tensor, dec: Tensor) -> Tensor:
    """The formula that the file states."""
    assert case.config["joiner"] == "tanh(enc+dec) @ out_weight.T + out_bias"
    return torch.tanh(enc + dec) @ weight.T + bias


def found() -> Iterator[tuple[str, tuple[Case]]]:
    for path in sorted((golden_root() / "mvq").glob("rnnt*.json")):
        arrays = load_file(path.with_suffix(".safetensors"))
        for name, config in json.loads(path.read_text("utf-8")).items():
            before = f"{name}."
            own = {key.removeprefix(before): value for key, value in arrays.items()
                   if key.startswith(before)}  # fmt: skip
            yield f"mvq/{path.stem}/{name}", (Case(config, own),)


CASES = params("mvq", found())


def close(result: Tensor, golden: Tensor) -> None:
    """1e-5 relative, of the array's largest value; gradients as the folder's README allows."""
    atol = 1e-5 * float(golden.abs().max())
    torch.testing.assert_close(result, golden, rtol=1e-5, atol=atol, check_dtype=False)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", ["simple", "smoothed"])
def test_simple_lattice(case: Case, name: str) -> None:
    lm, am = case.inputs("lm", "am")
    result = case.simple(name, lm, am)
    suffix = "_simple" if name == "simple" else ""
    close(result.loss, case[f"{name}_loss"])
    close(result.px_grad, case[f"px_grad{suffix}"])
    close(result.py_grad, case[f"py_grad{suffix}"])
    result.loss.sum().backward()
    close(am.grad, case[f"grad_{name}_am"])
    close(lm.grad, case[f"grad_{name}_lm"])


@pytest.mark.parametrize("case", CASES)
def test_ranges(case: Case) -> None:
    occupied = case.simple("smoothed", case["lm"], case["am"])
    ranges = get_rnnt_prune_ranges(
        occupied.px_grad, occupied.py_grad, case["boundary"], case.config["s_range"]
    )
    assert torch.equal(ranges, case["ranges"].long())


@pytest.mark.parametrize("case", CASES)
def test_pruned_lattice(case: Case) -> None:
    names = ("enc", "dec", "out_weight", "out_bias")
    enc, dec, weight, bias = leaves = case.inputs(*names)
    logits = joiner(case, weight, bias, *do_rnnt_pruning(enc, dec, case["ranges"]))
    logits.retain_grad()
    close(logits, case["pruned_logits"])
    loss = rnnt_loss_pruned(logits, case["symbols"], case["ranges"], case.blank, **case.options)
    close(loss, case["pruned_loss"])
    loss.sum().backward()
    close(logits.grad, case["grad_pruned_logits"])
    for name, leaf in zip(names, leaves, strict=True):
        close(leaf.grad, case[f"grad_pruned_{name}"])


def full_logits(case: Case) -> Tensor:
    enc, dec = case["enc"][:, :, None], case["dec"][:, None]
    return joiner(case, case["out_weight"], case["out_bias"], enc, dec)


@pytest.mark.parametrize("case", CASES)
def test_full_lattice(case: Case) -> None:
    loss = rnnt_loss(full_logits(case), case["symbols"], case.blank, **case.options)
    close(loss, case["full_loss_k2"])
    if "full_loss_torchaudio" in case.arrays:
        close(loss, case["full_loss_torchaudio"])


@pytest.mark.parametrize("case", CASES)
def test_modules_join_the_same_numbers(case: Case) -> None:
    symbol_lengths, frame_lengths = case["boundary"][:, 2], case["boundary"][:, 3]
    common = {key: case.config[key] for key in ("blank", "rnnt_type", "delay_penalty")}
    full = TransducerLoss(reduction="sum", **common)
    terms = full(full_logits(case), case["symbols"], frame_lengths, symbol_lengths)
    close(terms["loss"], case["full_loss_k2"].sum())
    pruned = PrunedTransducerLoss(
        prune_range=case.config["s_range"], lm_scale=case.config["lm_only_scale"],
        am_scale=case.config["am_only_scale"], simple_loss_scale=0.5, **common,
    )  # fmt: skip
    terms = pruned(
        case["am"], case["lm"], case["enc"], case["dec"],
        lambda enc, dec: joiner(case, case["out_weight"], case["out_bias"], enc, dec),
        case["symbols"], frame_lengths, symbol_lengths,
    )  # fmt: skip
    simple, full_weight = case["smoothed_loss"].sum(), case["pruned_loss"].sum()
    close(terms["loss_simple"], simple)
    close(terms["loss_pruned"], full_weight)
    close(terms["loss"], 0.5 * simple + full_weight)
