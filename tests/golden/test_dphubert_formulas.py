"""Gate formulas, distillation losses and the learning-rate schedule of DPHuBERT."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from golden_cases import golden_root
from torch import Tensor

from espnet_kd.losses import LayerDistillLoss
from espnet_kd.optim import linear_warmup_decay
from espnet_kd.pruning import HardConcrete

ROOT = golden_root() / "dphubert"
pytestmark = [
    pytest.mark.golden,
    pytest.mark.skipif(not ROOT.is_dir(), reason=f"no golden folder {ROOT}: set ESPNET_KD_GOLDEN"),
]
COLUMNS = ("mse", "l1", "cos")


def _arrays(name: str) -> dict[str, Tensor]:
    with np.load(ROOT / name) as stored:
        return {key: torch.from_numpy(stored[key]) for key in stored.files}


def _gate(log_alpha: Tensor) -> HardConcrete:
    gate = HardConcrete(log_alpha.numel())
    gate.load_state_dict({"log_alpha": log_alpha})
    return gate


def test_gate_formulas() -> None:
    arrays = _arrays("hard_concrete.npz")
    cases = sorted({name.partition(":")[0] for name in arrays} - {"const"})
    assert cases
    for case in cases:
        gate = _gate(arrays[f"{case}:log_alpha"])
        if f"{case}:u" in arrays:
            sample = gate.sample(arrays[f"{case}:u"])
            torch.testing.assert_close(sample, arrays[f"{case}:sample"], atol=1e-5, rtol=0)
        expected = gate.expected_open().float()
        torch.testing.assert_close(expected, arrays[f"{case}:l0_norm"], atol=1e-5, rtol=1e-6)
        mask, wanted = gate.eval()(), arrays[f"{case}:eval_mask"]
        assert torch.equal(mask == 0, wanted == 0)
        torch.testing.assert_close(mask, wanted, atol=1e-5, rtol=0)


def test_initial_gates() -> None:
    arrays = _arrays("hard_concrete.npz")
    for name in (n for n in arrays if n.startswith("const:init_mean_log_alpha_p")):
        drop = float(name.removeprefix("const:init_mean_log_alpha_p"))
        log_alpha = HardConcrete(10_000, drop).log_alpha.detach()
        assert float(log_alpha.mean()) == pytest.approx(float(arrays[name]), abs=1e-3)
        assert float(log_alpha.std()) == pytest.approx(0.01, rel=0.1)


def _variants(arrays: dict[str, Tensor]) -> list[str]:
    return sorted(n.partition(":")[0] for n in arrays if n.endswith(":grad_student"))


def test_distillation_losses_and_gradients() -> None:
    arrays = _arrays("distill_loss.npz")
    assert _variants(arrays)
    for name in _variants(arrays):
        l2, l1, cos = arrays[f"{name}:weights_l2_l1_cos"].tolist()
        layers, width = arrays["teacher"].shape[1], arrays["teacher"].shape[3]
        loss = LayerDistillLoss(
            [list(range(layers))],
            width,
            width,
            l2_weight=l2,
            l1_weight=l1,
            cos_weight=cos,
            cos_type="log_sig" if name == "log_sig" else "raw",
        )
        student = arrays["student"].clone().requires_grad_()
        terms = loss(student.unbind(1), arrays["teacher"].unbind(1))
        terms["loss"].backward()
        torch.testing.assert_close(terms["loss"], arrays[f"{name}:loss"], atol=1e-5, rtol=1e-5)
        for column, value in zip(COLUMNS, arrays[f"{name}:terms_mse_l1_cos"], strict=True):
            found = terms.get(f"loss_{column}", torch.zeros(()))
            torch.testing.assert_close(found, value, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(
            student.grad, arrays[f"{name}:grad_student"], atol=1e-6, rtol=1e-4
        )


def test_heads_on_the_last_hidden_state() -> None:
    arrays = _arrays("distill_loss.npz")
    weights, biases = arrays["predlayer:weights"], arrays["predlayer:biases"]
    number, width = biases.shape
    loss = LayerDistillLoss([list(range(number))], width, width, distill_mode="predlayer")
    loss.load_state_dict(
        {f"projections.{i}.weight": w for i, w in enumerate(weights)}
        | {f"projections.{i}.bias": b for i, b in enumerate(biases)}
    )
    terms = loss([arrays["predlayer:last_student_hidden"]], arrays["teacher"].unbind(1))
    torch.testing.assert_close(terms["loss"], arrays["predlayer:loss"], atol=1e-5, rtol=1e-5)
    stacked = torch.stack(list(loss.project([arrays["predlayer:last_student_hidden"]]).values()), 1)
    torch.testing.assert_close(stacked, arrays["predlayer:stacked"], atol=1e-5, rtol=1e-5)


def test_learning_rates() -> None:
    document = json.loads((ROOT / "lr_schedule.json").read_text("utf-8"))
    schedules = {name: rows for name, rows in document.items() if name.startswith("warmup")}
    assert schedules
    for name, rows in schedules.items():
        warmup, maximum = (int("".join(filter(str.isdigit, part))) for part in name.split("_"))
        for updates_done, rates in enumerate(rows):
            factor = linear_warmup_decay(updates_done + 1, warmup, maximum)
            assert rates == pytest.approx([2e-4 * factor, -0.02 * factor], rel=1e-6, abs=1e-12)
