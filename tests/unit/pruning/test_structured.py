"""Gates and Lagrangian together: targets, refusals, logs, and any loss."""

from __future__ import annotations

import pytest
import torch

from espnet_kd.errors import ConfigError
from espnet_kd.pruning import PruningConfig, StructuredPruning, prune_encoder
from tests.unit.encoder.tiny import tiny, waves


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"target_sparsity": 1.5}, "target_sparsity"),
        ({"target": "latency"}, "params or macs"),
        ({"pruning_units": ["head", "neck"]}, "pruning_units"),
        ({"pruning_units": []}, "pruning_units"),
        ({"sparsity_warmup": -1}, "sparsity_warmup"),
        ({"reg_lr": 0.0}, "reg_lr"),
        ({"log_every": 0}, "log_every"),
        ({"target_sparsity": 0.9, "pruning_units": ["head"]}, "cannot be reached"),
    ],
)
def test_impossible_options(options: dict, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        StructuredPruning(tiny("hubert_base"), PruningConfig(**options))


def test_frozen_convolutions_have_no_gates() -> None:
    encoder = tiny("hubert_base", feature_grad_mult=0.0)
    with pytest.raises(ConfigError, match="feature_grad_mult"):
        StructuredPruning(encoder, PruningConfig(target_sparsity=0.1))


def test_the_target_rises() -> None:
    options = PruningConfig(target_sparsity=0.4, sparsity_warmup=10)
    pruning = StructuredPruning(tiny("hubert_base"), options)
    targets = [float(pruning.loss(step)["sparsity_target"]) for step in (0, 5, 10, 99)]
    assert targets == pytest.approx([0.0, 0.2, 0.4, 0.4])
    options.sparsity_warmup = 0
    assert float(pruning.loss(0)["sparsity_target"]) == pytest.approx(0.4)


@pytest.mark.parametrize("measure", ["params", "macs"])
@pytest.mark.parametrize("name", ["hubert_base", "wavlm_base", "armhubert"])
def test_the_target_is_reached_with_any_loss(name: str, measure: str) -> None:
    torch.manual_seed(0)
    encoder = tiny(name).train()
    options = PruningConfig(
        target_sparsity=0.4, target=measure, sparsity_warmup=40, reg_lr=0.1, macs_seconds=1.0
    )
    pruning = StructuredPruning(encoder, options)
    groups = pruning.parameter_groups(encoder.parameters())
    optimizer = torch.optim.AdamW(groups, lr=1e-3)
    x_BS, lengths_B = waves(2400, 1700)
    target_BTD = encoder(x_BS, lengths_B).layer_outputs[-1].detach()
    for step in range(250):
        if step % 25 == 0:  # the task's loss, rarely: this is about the other one
            with pruning.applied(encoder):
                found_BTD = encoder(x_BS, lengths_B).layer_outputs[-1]
            loss = (found_BTD - target_BTD).square().mean()
        else:
            loss = torch.zeros(())
        loss = loss + pruning.loss(step)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    summary = pruning.summary(250)
    assert summary["sparsity_expected"] == pytest.approx(0.4, abs=0.03)
    # A few dozen units are coarse: what is kept can be a unit of each layer off.
    assert summary["sparsity_kept"] == pytest.approx(0.4, abs=0.1)
    pruned, report = prune_encoder(encoder, pruning.eval().gates.masks())
    before, after = report.parameters
    kept = pruning.gates.kept_sizes()
    assert [conv[0] for conv in pruned.config.conv_layers] == list(kept.channels)
    assert after < before


def test_multipliers_ascend() -> None:
    pruning = StructuredPruning(tiny("hubert_base"), PruningConfig(sparsity_warmup=0))
    optimizer = torch.optim.SGD(pruning.parameter_groups([])[1:], lr=1.0)
    pruning.loss(0)["loss"].backward()
    gap = float(pruning.expected_sparsity().detach()) - 0.75
    optimizer.step()
    assert pruning.lagrangian.lambda1.item() == pytest.approx(0.02 * gap, rel=1e-4)
    assert pruning.lagrangian.lambda2.item() == pytest.approx(0.02 * gap**2, rel=1e-4)


def test_the_summary_is_plain() -> None:
    encoder = tiny("hubert_base")
    summary = StructuredPruning(encoder, PruningConfig()).summary(7)
    assert summary["updates"] == 7
    assert summary["channels"] == [conv[0] for conv in encoder.config.conv_layers]
    assert summary["heads"] == [4] * 4
    assert all(isinstance(n, int) for n in summary["units"])
