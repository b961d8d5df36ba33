"""The size asked for: least decided units change sides, decided ones do not."""

from __future__ import annotations

import pytest
import torch

from espnet_kd.pruning import PruningConfig, StructuredPruning, prune_encoder
from espnet_kd.pruning.fit import fit_closed
from tests.unit.encoder.tiny import tiny

ARCHITECTURES = ["hubert_base", "wavlm_base", "armhubert"]


def trained(name: str, seed: int = 0, **options: object) -> StructuredPruning:
    """Gates as a short training leaves them: most are decided, some are not."""
    pruning = StructuredPruning(
        tiny(name), PruningConfig(macs_seconds=1.0, fit_target=True, **options)
    )
    torch.manual_seed(seed)
    for _, gate in pruning.gates.named_gates():
        gate.log_alpha.data.normal_(0.5, 3.0)
    return pruning


def reached(pruning: StructuredPruning, name: str) -> float:
    _, report = prune_encoder(tiny(name), pruning.masks(), macs_seconds=1.0)
    before, after = report.parameters if pruning.options.target == "params" else report.macs
    return 1.0 - after / before


@pytest.mark.parametrize("target", ["params", "macs"])
@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("sparsity", [0.2, 0.45])
def test_the_size_is_the_one_asked_for(name: str, target: str, sparsity: float) -> None:
    fitted = trained(name, target=target, target_sparsity=sparsity)
    rounded = trained(name, target=target, target_sparsity=sparsity)
    rounded.options.fit_target = False
    off = abs(reached(fitted, name) - sparsity)
    assert off < 0.02  # a few dozen units are coarse
    assert off < abs(reached(rounded, name) - sparsity)


@pytest.mark.parametrize("sparsity", [0.2, 0.45])
def test_the_least_decided_units_change_sides(sparsity: float) -> None:
    pruning = trained("hubert_base", target_sparsity=sparsity)
    changed, stayed = [], []
    closed = fit_closed(pruning)
    for name, gate in pruning.gates.named_gates():
        sorted_U = gate.log_alpha.detach().sort().values
        low, high = sorted((gate.expected_closed(), closed[name]))
        changed += sorted_U[low:high].tolist()
        if closed[name] > gate.expected_closed():
            stayed += sorted_U[closed[name] :].tolist()
        elif closed[name] < gate.expected_closed():
            stayed += sorted_U[: closed[name]].tolist()
        assert closed[name] < len(sorted_U) or closed[name] == gate.expected_closed()
    before = [gate.expected_closed() for _, gate in pruning.gates.named_gates()]
    closing = sum(closed.values()) > sum(before)
    # But for the last steps, which take what still fits, no unit jumps the queue.
    best = min(stayed) if closing else max(stayed)
    late = [value for value in changed if (value > best if closing else value < best)]
    assert changed
    assert len(late) <= 3


def test_a_target_that_is_met_changes_nothing() -> None:
    pruning = trained("hubert_base", target_sparsity=0.3)
    closed = {name: gate.expected_closed() for name, gate in pruning.gates.named_gates()}
    pruning.options.target_sparsity = pruning.sparsity_with(closed)
    assert fit_closed(pruning) == closed
    published = pruning.gates.eval().masks()
    for name, mask in pruning.masks().items():
        assert torch.equal(mask, published[name])


def test_no_gate_loses_its_last_unit() -> None:
    pruning = trained("hubert_base", target_sparsity=0.3)
    pruning.options.target_sparsity = 0.99  # far beyond what is possible
    closed = fit_closed(pruning)
    for name, gate in pruning.gates.named_gates():
        assert closed[name] == gate.log_alpha.numel() - 1


@pytest.mark.parametrize("fit_target", [False, True])
def test_looking_at_the_masks_ends_no_training(fit_target: bool) -> None:
    pruning = trained("hubert_base", target_sparsity=0.3).train()
    pruning.options.fit_target = fit_target
    pruning.masks()
    assert all(gate.training for _, gate in pruning.gates.named_gates())
