"""Gated and pruned models, expected sizes and Lagrangian, and one whole training step of DPHuBERT.

A case is a folder of ``dphubert`` with ``config_gated.json``. Our encoder gets the case's weights,
our gates its log_alphas; nothing here names a case or a number of theirs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden_cases import golden_root
from safetensors.torch import load_file
from torch import Tensor

from espnet_kd.checkpoints.dphubert import GATES, from_content, read_gated
from espnet_kd.encoder import SpeechEncoder
from espnet_kd.losses import LayerDistillLoss
from espnet_kd.losses.layer_distill import parse_layers
from espnet_kd.optim import LinearWarmupDecay
from espnet_kd.pruning import PruningConfig, StructuredPruning, prune_encoder
from espnet_kd.pruning.config import UNITS
from espnet_kd.pruning.sizes import count_parameters, parameter_total

pytestmark = pytest.mark.golden
ROOT = golden_root() / "dphubert"
NO_DROPOUT = dict.fromkeys(
    ("dropout", "attention_dropout", "activation_dropout", "dropout_input", "layerdrop"), 0.0
)


def _listed(pattern: str) -> Iterator[Any]:
    if not ROOT.is_dir():
        reason = f"no golden folder {ROOT}: set ESPNET_KD_GOLDEN"
        yield pytest.param(None, id="dphubert", marks=pytest.mark.skip(reason=reason))
    for folder in sorted(path.parent for path in ROOT.glob(pattern)):
        yield pytest.param(folder, id=f"dphubert/{folder.name}")


MODELS = list(_listed("*/config_gated.json"))
TRAJECTORIES = list(_listed("*/trajectory.json"))
SETTINGS = ("A", "B")


def _json(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return content


def _arrays(file: Path) -> dict[str, Tensor]:
    with np.load(file) as stored:
        return {name: torch.from_numpy(stored[name]) for name in stored.files}


def _by_gate(values: dict[str, Any]) -> dict[str, Any]:
    """Values by the reference's gate names -> by ours."""
    renamed = {f"{name.removesuffix('.log_alpha')}.log_alpha": v for name, v in values.items()}
    return dict(GATES.to_ours(renamed, "golden"))


def _pruning(
    encoder: SpeechEncoder, log_alphas: dict[str, Tensor], lambdas: dict[str, float]
) -> StructuredPruning:
    options = PruningConfig(
        target_sparsity=lambdas["target_sparsity"],
        sparsity_warmup=int(lambdas["sparsity_warmup_updates"]),
        pruning_units=list(UNITS),
    )
    # The tiny models cannot lose that much; their targets only feed formulas.
    StructuredPruning._check_target, checked = lambda *_: None, StructuredPruning._check_target
    try:
        pruning = StructuredPruning(encoder, options)
    finally:
        StructuredPruning._check_target = checked
    state = {f"gates.gates.{name}.log_alpha": value for name, value in log_alphas.items()}
    state |= {f"lagrangian.{n}": torch.tensor(lambdas.get(n, 0.0)) for n in ("lambda1", "lambda2")}
    pruning.load_state_dict(state, strict=True)
    return pruning


def _gated(case: Path, setting: str) -> tuple[SpeechEncoder, StructuredPruning, dict[str, Any]]:
    weights = load_file(case / "student.safetensors")
    weights |= load_file(case / f"{setting}_log_alpha.safetensors")
    encoder, log_alphas = read_gated(
        _json(case / "config_gated.json"), weights, case.name, NO_DROPOUT
    )
    facts = _json(case / "meta.json")[setting]
    return encoder, _pruning(encoder, log_alphas, facts["lagrangian"]), facts


def _check_outputs(encoder: SpeechEncoder, case: Path, file: str) -> None:
    inputs, wanted = _arrays(case / "inputs.npz"), _arrays(case / file)
    output = encoder(inputs["waveforms"], inputs["lengths"])
    assert output.lengths_B is not None
    assert output.lengths_B.tolist() == wanted["out_lengths"].tolist()
    valid_BT = torch.arange(output.hidden_states[0].shape[1]) < output.lengths_B[:, None]
    for layer, state_BTD in enumerate(output.hidden_states):
        torch.testing.assert_close(
            state_BTD[valid_BT], wanted[f"hidden_{layer}"][valid_BT], atol=3e-5, rtol=1e-4
        )
    final_BTD = output.hidden_states[-1]
    if encoder.config.norm_first:
        final_BTD = encoder.encoder_norm(final_BTD)
    torch.testing.assert_close(final_BTD[valid_BT], wanted["final"][valid_BT], atol=3e-5, rtol=1e-4)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("case", MODELS)
def test_gated_model(case: Path, setting: str) -> None:
    encoder, pruning, _ = _gated(case, setting)
    pruning.eval()
    masks = pruning.gates.masks()
    wanted = _by_gate(_arrays(case / f"{setting}_eval_masks.npz"))
    assert masks.keys() == wanted.keys()
    for name, mask in masks.items():
        assert torch.equal(mask == 0, wanted[name] == 0), name
        torch.testing.assert_close(mask, wanted[name], atol=1e-5, rtol=0)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    with torch.no_grad(), pruning.applied(encoder):
        _check_outputs(encoder, case, f"{setting}_gated_outputs.npz")
    assert all(torch.equal(before[name], t) for name, t in encoder.state_dict().items())


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("case", MODELS)
def test_expected_size_and_lagrangian(case: Path, setting: str) -> None:
    encoder, pruning, facts = _gated(case, setting)
    assert parameter_total(encoder) == _json(case / "meta.json")["original_num_params"]
    sizes = pruning.gates.expected_sizes()
    size = count_parameters(encoder.config, sizes)
    assert isinstance(size, Tensor)
    size = size.item()
    assert size == pytest.approx(facts["expected_num_params_float64"], rel=1e-7)
    for name, wanted in _by_gate(facts["l0_norms"]).items():
        gate = dict(pruning.gates.named_gates())[name]
        assert float(gate.expected_open()) == pytest.approx(wanted, abs=1e-5)
    for name, wanted in _by_gate(facts["kept"]).items():
        gate = dict(pruning.gates.named_gates())[name]
        assert gate.log_alpha.numel() - gate.expected_closed() == wanted
    published = facts["lagrangian"]
    terms = pruning.loss(int(published["global_step"]))
    assert float(terms["sparsity_target"]) == pytest.approx(published["current_target"])
    assert float(terms["sparsity_expected"]) == pytest.approx(facts["expected_sparsity"], abs=1e-6)
    assert float(terms["loss"]) == pytest.approx(published["loss_reg"], abs=1e-6)
    terms["loss"].backward()
    for name in ("lambda1", "lambda2"):
        gradient = float(getattr(pruning.lagrangian, name).grad)
        assert gradient == pytest.approx(published[f"grad_{name}"], abs=1e-6)
    gradients = _by_gate(_arrays(case / f"{setting}_reg_grads.npz"))
    for name, gate in pruning.gates.named_gates():
        assert gate.log_alpha.grad is not None
        torch.testing.assert_close(gate.log_alpha.grad, gradients[name], atol=1e-7, rtol=1e-4)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("case", MODELS)
def test_pruned_model(case: Path, setting: str) -> None:
    encoder, pruning, facts = _gated(case, setting)
    pruned, report = prune_encoder(encoder, pruning.eval().gates.masks())
    assert report.parameters == (
        _json(case / "meta.json")["original_num_params"],
        facts["pruned_num_params"],
    )
    with torch.no_grad():
        _check_outputs(pruned, case, f"{setting}_pruned_outputs.npz")
    published = from_content(
        _json(case / f"{setting}_pruned_config.json"),
        load_file(case / f"{setting}_pruned.safetensors"),
        case.name,
        NO_DROPOUT,
    )
    ours = pruned.state_dict()
    for name, tensor in published.state_dict().items():
        torch.testing.assert_close(ours[name], tensor, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("case", MODELS)
def test_training_step(case: Path) -> None:
    arrays, facts = _arrays(case / "train_step.npz"), _json(case / "meta.json")["train_step"]
    encoder, _, _ = _gated(case, "A")
    log_alphas = {n.partition(":")[2]: t for n, t in arrays.items() if n.startswith("log_alpha:")}
    noise = {n.partition(":")[2]: t for n, t in arrays.items() if n.startswith("noise:")}
    samples = {n.partition(":")[2]: t for n, t in arrays.items() if n.startswith("sample:")}
    pruning = _pruning(encoder, _by_gate(log_alphas), facts)
    gates = dict(pruning.gates.named_gates())
    masks = {name: gates[name].sample(noise_U) for name, noise_U in _by_gate(noise).items()}
    for name, sample_U in _by_gate(samples).items():
        torch.testing.assert_close(masks[name], sample_U, atol=1e-5, rtol=0)
    teacher = from_content(
        _json(case / "config.json"), load_file(case / "teacher.safetensors"), case.name, NO_DROPOUT
    )
    loss = _distillation(encoder, arrays, facts)
    encoder.train()
    with pruning.applied(encoder, masks):
        student = encoder(arrays["waveforms"], arrays["lengths"]).hidden_states
    for layer, state_BTD in enumerate(student):
        wanted = arrays[f"student_hidden_{layer}"]
        torch.testing.assert_close(state_BTD, wanted, atol=1e-5, rtol=1e-4)
    with torch.no_grad():
        targets = teacher(arrays["waveforms"], arrays["lengths"]).hidden_states
    terms = loss(student, targets)
    regulariser = pruning.loss(int(facts["global_step"]))
    total = terms["loss"] + regulariser["loss"]
    total.backward()
    logs = facts["logs"]
    found = {**terms, "loss_distill": terms["loss"], "loss_reg": regulariser["loss"]}
    found |= {k: v for k, v in regulariser.items() if k != "loss"} | {"loss": total}
    for name, value in logs.items():
        ours = found.get(name.removeprefix("train_"), torch.zeros(()))
        assert float(ours.detach()) == pytest.approx(value, abs=2e-6, rel=1e-5), name
    _check_gradients(encoder, pruning, loss, arrays)


def _distillation(
    encoder: SpeechEncoder, arrays: dict[str, Tensor], facts: dict[str, Any]
) -> LayerDistillLoss:
    width = encoder.config.embed_dim
    loss = LayerDistillLoss(parse_layers(facts["distill_layers"]), width, width)
    loss.load_state_dict(
        {
            f"projections.{group}.{part}": arrays[f"proj_group{group}.{part}"]
            for group in range(len(loss.groups))
            for part in ("weight", "bias")
        }
    )
    return loss


def _check_gradients(
    encoder: SpeechEncoder,
    pruning: StructuredPruning,
    loss: LayerDistillLoss,
    arrays: dict[str, Tensor],
) -> None:
    from espnet_kd.checkpoints.dphubert import TABLE

    ours = {name: p.grad for name, p in encoder.named_parameters()}
    ours |= {f"gate {n}": gate.log_alpha.grad for n, gate in pruning.gates.named_gates()}
    ours |= {n: getattr(pruning.lagrangian, n).grad for n in ("lambda1", "lambda2")}
    ours |= {f"proj_group{n.split('.', 1)[1]}": p.grad for n, p in loss.named_parameters()}
    compared = 0
    for name in (n.partition(":")[2] for n in arrays if n.startswith("grad:")):
        if name.endswith("log_alpha"):
            key = f"gate {next(iter(_by_gate({name: None})))}"
        else:
            key = name if name in ours else next(iter(TABLE.to_ours({name: torch.zeros(0)}, "")))
        wanted = arrays[f"grad:{name}"]
        gradient = ours[key]
        assert gradient is not None, name
        scale = float(wanted.abs().max())
        torch.testing.assert_close(gradient, wanted, atol=1e-4 * scale + 1e-7, rtol=1e-4)
        compared += 1
    assert compared
    norms = [g.norm() for g in ours.values() if g is not None]
    total = float(torch.stack(norms).norm())
    assert total == pytest.approx(float(arrays["total_grad_norm"]), rel=1e-4)


@pytest.mark.parametrize("case", TRAJECTORIES)
def test_regulariser_trajectory(case: Path) -> None:
    document, arrays = _json(case / "trajectory.json"), _arrays(case / "log_alpha.npz")
    config = {**document["config_gated"]}
    plain = {k: False if "prune" in k else v for k, v in config.items()}
    from espnet_kd.checkpoints.dphubert_config import to_ours
    from espnet_kd.checkpoints.dphubert_options import read_options

    encoder = SpeechEncoder.from_config(to_ours(read_options(plain, case.name), case.name))
    initial = {n.partition(":")[2]: t for n, t in arrays.items() if n.startswith("init:")}
    pruning = _pruning(encoder, _by_gate(initial), document)
    assert pruning.original == document["original_num_params"]
    pruning.options.reg_lr = document["reg_learning_rate"]
    groups = pruning.parameter_groups([])[1:]
    optimizer = torch.optim.AdamW(groups, lr=1.0)
    schedule = LinearWarmupDecay(optimizer, document["max_updates"], document["warmup_updates"])
    for step in document["steps"]:
        assert optimizer.param_groups[0]["lr"] == pytest.approx(step["lr"][0], rel=1e-6)
        terms = pruning.loss(step["step"])
        assert float(terms["sparsity_target"]) == pytest.approx(step["current_target"], abs=1e-6)
        expected = float(terms["sparsity_expected"])
        assert expected == pytest.approx(step["expected_sparsity"], abs=1e-5)
        assert float(terms["loss"]) == pytest.approx(step["loss_reg"], abs=1e-5)
        assert float(terms["lambda1"]) == pytest.approx(step["lambda1_before"], abs=1e-5)
        assert float(terms["lambda2"]) == pytest.approx(step["lambda2_before"], abs=1e-5)
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()
        schedule.step()
    final = _by_gate({n.partition(":")[2]: t for n, t in arrays.items() if n.startswith("final:")})
    for name, gate in pruning.gates.named_gates():
        torch.testing.assert_close(gate.log_alpha.detach(), final[name], atol=1e-5, rtol=1e-5)
