"""The optimiser against the published one, step by step, beyond the end of its schedule."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from golden_cases import file_pairs, params

from espnet_kd.optim import LinearWarmupDecay, ScheduledAdamW, decay_groups

pytestmark = pytest.mark.golden

SYSTEM = "armhubert"


@pytest.mark.parametrize("variant", ["foreach", "plain", "outer schedule"])
@pytest.mark.parametrize(
    ("settings", "arrays"),
    params(SYSTEM, ((name, (s, a)) for name, s, a in file_pairs(SYSTEM, "optim")), arity=2),
)
def test_every_step(settings: dict[str, Any], arrays: dict[str, np.ndarray], variant: str) -> None:
    start = {n.removeprefix("init."): a for n, a in arrays.items() if n.startswith("init.")}
    parameters = {n: torch.nn.Parameter(torch.from_numpy(a.copy())) for n, a in start.items()}
    groups = decay_groups(parameters.items())
    assert [g["weight_decay"] for g in groups] == arrays["group_weight_decay"].tolist()
    options, total = settings["optimizer"], settings["total_steps"]
    outer = variant == "outer schedule"
    optimizer = ScheduledAdamW(
        groups,
        lr=options["lr"],
        betas=tuple(options["betas"]),
        eps=options["eps"],
        total_steps=None if outer else total,
        warmup_proportion=options["warmup_proportion"],
        foreach=variant == "foreach",
    )
    scheduler = None
    if outer:
        share = options["warmup_proportion"]
        scheduler = LinearWarmupDecay(optimizer, total, warmup_proportion=share)
    compared = 0
    for k in range(settings["steps_run"]):
        for name, parameter in parameters.items():
            parameter.grad = torch.from_numpy(arrays[f"grad{k}.{name}"].copy())
        lrs = optimizer.current_lrs()
        np.testing.assert_allclose(lrs, arrays["lr_after_step"][k], rtol=1e-6, atol=1e-12)
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        for name, parameter in parameters.items():
            golden = arrays.get(f"step{k + 1}.{name}")
            if golden is not None:
                np.testing.assert_allclose(parameter.detach().numpy(), golden, rtol=0, atol=1e-6)
                compared += 1
    assert compared == sum(name.startswith("step") for name in arrays)
