"""The published AdamW: a literal scalar version, resuming, groups, and its own schedule."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import nn

from espnet_kd.errors import ConfigError, KDError
from espnet_kd.optim import ScheduledAdamW, decay_groups

BETAS, EPS, DECAY, LR, TOTAL, WARMUP = (0.9, 0.98), 1e-6, 0.01, 0.05, 10, 0.3


def _model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))


def _optimizer(model: nn.Module, **options: Any) -> ScheduledAdamW:
    groups = decay_groups(model.named_parameters(), DECAY)
    return ScheduledAdamW(groups, LR, total_steps=TOTAL, warmup_proportion=WARMUP, **options)


def _set_gradients(model: nn.Module, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    for p in model.parameters():
        p.grad = torch.randn(p.shape, generator=generator)


class _Scalar:
    """One number, updated as the formula says."""

    def __init__(self, value: float, decay: float) -> None:
        self.p, self.decay, self.m, self.v, self.t = value, decay, 0.0, 0.0, 0

    def update(self, g: float) -> None:
        self.t += 1
        self.m = BETAS[0] * self.m + (1 - BETAS[0]) * g
        self.v = BETAS[1] * self.v + (1 - BETAS[1]) * g * g
        progress = self.t / TOTAL
        f = progress / WARMUP if progress < WARMUP else max((progress - 1) / (WARMUP - 1), 0.0)
        correction = math.sqrt(1 - BETAS[1] ** self.t) / (1 - BETAS[0] ** self.t)
        direction = self.m / (math.sqrt(self.v) + EPS) + self.decay * self.p
        self.p -= LR * f * correction * direction


@pytest.mark.parametrize("foreach", [True, False])
def test_agrees_with_the_scalar_formula(foreach: bool) -> None:
    model = _model().double()
    optimizer = _optimizer(model, foreach=foreach)
    scalars = {
        (name, i): _Scalar(value, 0.0 if "bias" in name else DECAY)
        for name, p in model.named_parameters()
        for i, value in enumerate(p.flatten().tolist())
    }
    for step in range(TOTAL + 2):
        _set_gradients(model.float(), step)
        model.double()
        for name, p in model.named_parameters():
            for i, g in enumerate(p.grad.flatten().tolist()):
                scalars[name, i].update(g)
        optimizer.step()
        for name, p in model.named_parameters():
            for i, value in enumerate(p.flatten().tolist()):
                assert math.isclose(value, scalars[name, i].p, rel_tol=1e-6, abs_tol=1e-7)


def test_foreach_equals_the_plain_loop() -> None:
    models = [_model(), _model()]
    optimizers = [_optimizer(m, foreach=f) for m, f in zip(models, (True, False), strict=True)]
    for step in range(8):
        for model, optimizer in zip(models, optimizers, strict=True):
            _set_gradients(model, step)
            optimizer.step()
    for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("foreach", [True, False])
def test_resuming_is_bit_exact(foreach: bool, tmp_path: Any) -> None:
    model = _model()
    optimizer = _optimizer(model, foreach=foreach)
    for step in range(6):
        if step == 3:
            saved = copy.deepcopy(model.state_dict())
            torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
        _set_gradients(model, step)
        optimizer.step()
    resumed = _model()
    resumed.load_state_dict(saved)
    again = _optimizer(resumed, foreach=foreach)
    again.load_state_dict(torch.load(tmp_path / "optimizer.pt", weights_only=True))
    for step in range(3, 6):
        _set_gradients(resumed, step)
        again.step()
    for a, b in zip(model.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_parameter_without_gradient_keeps_its_own_step_count() -> None:
    model = _model()
    optimizer = _optimizer(model)
    late = model[2].weight
    before = late.detach().clone()
    for step in range(3):
        _set_gradients(model, step)
        if step < 2:
            late.grad = None
        optimizer.step()
        if step < 2:
            assert torch.equal(late, before)
    assert optimizer.state[late]["step"] == 1
    assert optimizer.state[model[0].weight]["step"] == 3


def test_nothing_moves_after_the_end_of_the_schedule() -> None:
    model = _model()
    optimizer = _optimizer(model)
    for step in range(TOTAL):
        _set_gradients(model, step)
        optimizer.step()
    assert optimizer.current_lrs() == [0.0, 0.0]
    before = [p.detach().clone() for p in model.parameters()]
    _set_gradients(model, 99)
    optimizer.step()
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))


def test_groups_by_name() -> None:
    model = nn.ModuleDict({"norm": nn.LayerNorm(2), "rel_bias": nn.Embedding(2, 2)})
    model["norm"].weight.requires_grad_(False)
    extra = nn.Parameter(torch.zeros(2))
    decayed, plain = decay_groups([*model.named_parameters(), ("mask_emb", extra)], 0.3)
    assert decayed["params"] == [extra]
    assert decayed["weight_decay"] == 0.3
    assert plain["weight_decay"] == 0.0
    assert len(plain["params"]) == 2  # norm.bias and rel_bias.weight


def test_closure_and_learning_from_a_real_loss() -> None:
    torch.manual_seed(1)
    model = nn.Linear(4, 1)
    x = torch.randn(64, 4)
    y = x.sum(dim=1, keepdim=True)
    optimizer = ScheduledAdamW(model.parameters(), 0.1, total_steps=100)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = (model(x) - y).square().mean()
        loss.backward()
        return loss

    losses = [optimizer.step(closure).item() for _ in range(100)]
    assert losses[-1] < 0.01 * losses[0]


def test_errors() -> None:
    p = nn.Parameter(torch.zeros(2, 2))
    with pytest.raises(ConfigError) as error:
        ScheduledAdamW([p], -1.0, (1.0, 0.5), -1.0, -1.0, total_steps=0, warmup_proportion=1.0)
    assert len(error.value.problems) == 6
    p.grad = torch.zeros(2, 2).to_sparse()
    with pytest.raises(KDError, match="sparse"):
        ScheduledAdamW([p]).step()
