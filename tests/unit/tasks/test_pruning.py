"""Pruning in SSLDistillModel: what is added to the loss, logged, optimised and exported."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
import torch
import yaml
from tiny_models import tiny_student, tiny_teacher

from espnet_kd import load_model
from espnet_kd.bin import export, prune
from espnet_kd.encoder import SpeechEncoder
from espnet_kd.errors import CheckpointError, ConfigError
from espnet_kd.optim import ScheduledAdamW
from espnet_kd.pruning import PruningError, StructuredPruning
from espnet_kd.tasks.hooks import RunInfo
from espnet_kd.tasks.layer_distill import PROJECTIONS
from espnet_kd.tasks.optimizers import pruning_optimizer, pruning_optimizer_problems
from espnet_kd.tasks.options import DistillConfig
from espnet_kd.tasks.pruning import LOG, PruningLog, read_log
from espnet_kd.tasks.ssl_model import SSLDistillModel
from espnet_kd.tasks.teacher import EncoderTeacher

PRUNING = {"target_sparsity": 0.3, "sparsity_warmup": 4, "log_every": 2}
DISTILL = {"objectives": {"layer_distill": {"distill_layers": "0.1,3"}}}
PHASE_1 = {**DISTILL, "pruning": PRUNING}
NO_DROPOUT = dict.fromkeys(
    ("dropout", "attention_dropout", "activation_dropout", "dropout_input"), 0.0
)


def copy_of_teacher(conf: dict) -> SSLDistillModel:
    teacher = tiny_teacher(**NO_DROPOUT)
    student = SpeechEncoder.from_config(teacher.config)
    student.load_state_dict(teacher.state_dict())
    model = SSLDistillModel(student, DistillConfig.from_dict(conf), seed=3)
    model.attach_teacher(EncoderTeacher("teacher", teacher))
    return model


def batch(speech) -> dict:
    return {"speech": speech[0], "speech_lengths": speech[1], "utt_id": ["a", "b", "c"]}


def run_info(folder: Path, rank: int = 0) -> RunInfo:
    tiny_teacher(**NO_DROPOUT).save_pretrained(folder / "teacher")
    return RunInfo(folder, 0, rank, 1, 1, str(folder / "teacher"), {})


def test_training_adds_the_lagrangian_and_validation_shows_it(speech) -> None:
    model = copy_of_teacher(PHASE_1)
    model.num_updates += 2
    loss, stats, _ = model(**batch(speech))
    assert stats["sparsity_target"].item() == pytest.approx(0.15)
    assert loss.item() == pytest.approx((stats["loss_distill"] + stats["loss_reg"]).item())
    loss.backward()
    assert model.pruning is not None
    assert all(p.grad is not None for p in model.pruning.parameters())
    model.eval()
    with torch.no_grad():
        valid, stats, _ = model(**batch(speech))
    assert valid.item() == pytest.approx(stats["loss_distill"].item())


def test_one_sample_of_the_gates_serves_a_whole_batch(speech) -> None:
    model = copy_of_teacher(PHASE_1)
    torch.manual_seed(5)
    first = model(**batch(speech))[0]
    torch.manual_seed(5)
    assert model(**batch(speech))[0].item() == first.item()
    assert model(**batch(speech))[0].item() != first.item()


def test_an_attention_reusing_student_is_pruned_under_the_masking_loss(
    teacher, speech, tmp_path: Path
) -> None:
    """Two methods in one run, by configuration alone."""
    student = SpeechEncoder.from_config(tiny_student(**NO_DROPOUT))
    conf = DistillConfig.from_dict({"objectives": {"masking_distill": {}}, "pruning": PRUNING})
    model = SSLDistillModel(student, conf, seed=3)
    model.attach_teacher(teacher)
    loss, stats, _ = model(**batch(speech))
    assert {"rec_loss", "hint_loss", "loss_reg"} <= set(stats)
    loss.backward()
    assert model.pruning is not None
    with torch.no_grad():
        for name, gate in model.pruning.gates.named_gates():
            gate.log_alpha[: len(gate.log_alpha) // 2] = -9.0 if "interm" in name else 5.0
    model.export(model.state_dict(), tmp_path)
    pruned = load_model(tmp_path)
    assert [layer.attention for layer in pruned.config.layers] == ["full", "reused", "full"]
    assert all(layer.ffn_dim <= 8 for layer in pruned.config.layers)
    assert pruned(*speech).hidden_states[-1].shape[-1] == 16


def test_the_log_forgets_what_was_not_saved(tmp_path: Path) -> None:
    model = copy_of_teacher(PHASE_1)
    model.start_run(run_info(tmp_path))
    for _ in range(6):
        model.updated()
    assert [line["updates"] for line in read_log(tmp_path / LOG)] == [2, 4, 6]
    with (tmp_path / LOG).open("a") as stream:
        stream.write('{"updates": 8, "spars')  # killed while writing
    model.num_updates.fill_(4)
    model.start_epoch(2)
    assert [line["updates"] for line in read_log(tmp_path / LOG)] == [2, 4]


def test_a_run_too_short_for_its_target_is_told(caplog: pytest.LogCaptureFixture) -> None:
    model = copy_of_teacher(PHASE_1)
    model.expect_updates(5)
    assert not caplog.records
    model.expect_updates(4)
    assert "sparsity_warmup is 4, but the run has 4 updates" in caplog.text


def test_only_the_first_process_writes_the_log(tmp_path: Path) -> None:
    model = copy_of_teacher(PHASE_1)
    model.start_run(run_info(tmp_path, rank=1))
    model.updated()
    model.updated()
    assert not (tmp_path / LOG).exists()
    assert PruningLog(tmp_path / LOG, 1).drop_after(0) is None


def test_export_prunes_and_keeps_the_projections(speech, tmp_path: Path) -> None:
    model = copy_of_teacher(PHASE_1)
    assert model.pruning is not None
    with torch.no_grad():
        for name, gate in model.pruning.gates.named_gates():
            if name.startswith("interm"):
                gate.log_alpha.fill_(9.0)[::2] = -9.0
    model.export(model.state_dict(), tmp_path)
    pruned = load_model(tmp_path)
    assert [layer.ffn_dim for layer in pruned.config.layers] == [8, 8, 8]
    report = json.loads((tmp_path / "pruning.json").read_text())
    assert report["sparsity"] > 0
    assert "layer 0 units" in (tmp_path / "pruning.txt").read_text()
    second = {"layer_distill": {"distill_layers": "0.1,3", "projections": str(tmp_path)}}
    phase_2 = SSLDistillModel(pruned, DistillConfig.from_dict({"objectives": second}))
    for objective in phase_2.objectives.values():
        objective.start_run()
    first = model.objectives["layer_distill"].state_dict()
    for name, tensor in phase_2.objectives["layer_distill"].state_dict().items():
        assert torch.equal(tensor, first[name])


@pytest.mark.parametrize("command", [prune.main, export.main], ids=["prune", "export"])
def test_a_run_is_not_replaced_by_its_export(command, tmp_path: Path, capsys) -> None:
    model = copy_of_teacher(PHASE_1)
    conf = {"student_resolved": model.student.config.to_dict(), "kd_conf": PHASE_1, "seed": 3}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(conf))
    torch.save(model.state_dict(), tmp_path / "1epoch.pth")
    out = "--out" if command is prune.main else "--dst"
    words = ["--exp", str(tmp_path), "--epoch", "1", out]
    assert command([*words, str(tmp_path)]) == 1
    assert "holds other things too (1epoch.pth, config.yaml)" in capsys.readouterr().err
    for _ in range(2):  # an earlier export may be replaced
        assert command([*words, str(tmp_path / "student")]) == 0
    assert (tmp_path / "1epoch.pth").exists()


@pytest.mark.parametrize("text", ["", "- a\n", "a: [1\n"])
def test_a_damaged_configuration_is_named(text: str, tmp_path: Path, capsys) -> None:
    (tmp_path / "config.yaml").write_text(text)
    assert export.main(["--exp", str(tmp_path), "--dst", str(tmp_path / "student")]) == 1
    assert "error: " + str(tmp_path / "config.yaml") in capsys.readouterr().err


def test_a_run_that_closed_everything_is_refused(tmp_path: Path) -> None:
    model = copy_of_teacher(PHASE_1)
    assert model.pruning is not None
    with torch.no_grad():
        for name, gate in model.pruning.gates.named_gates():
            if name.startswith("head"):
                gate.log_alpha.fill_(-9.0)
    with pytest.raises(PruningError, match="attention"):
        model.export(model.state_dict(), tmp_path)


@pytest.mark.parametrize("broken", ["missing", "damaged", "other layers"])
def test_wrong_projections(broken: str, tmp_path: Path) -> None:
    if broken == "damaged":
        (tmp_path / PROJECTIONS).write_bytes(b"no safetensors")
    elif broken == "other layers":
        other = copy_of_teacher({"objectives": {"layer_distill": {"distill_layers": "3"}}})
        other.export(other.state_dict(), tmp_path)
    options = {"distill_layers": "0.1,3", "projections": str(tmp_path)}
    model = copy_of_teacher({"objectives": {"layer_distill": options}})
    with pytest.raises(CheckpointError, match=PROJECTIONS):
        model.objectives["layer_distill"].start_run()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"distill_layers": "0.9"}, "distill_layers names"),
        ({"distill_layers": "0.1", "teacher_width": 20}, "teacher_width: 16"),
    ],
)
def test_misfits(options: dict, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        copy_of_teacher({"objectives": {"layer_distill": options}})


def adamw_options(ngpu: int = 0, **conf: object) -> argparse.Namespace:
    optim_conf = {"lr": 1e-3, "weight_decay": 0.0, **conf}
    return argparse.Namespace(optim="adamw", optim_conf=optim_conf, ngpu=ngpu)


def test_three_groups_of_parameters() -> None:
    model = copy_of_teacher(PHASE_1)
    args = adamw_options()
    main, gates, multipliers = pruning_optimizer(args, model).param_groups
    assert (main["lr"], gates["lr"], multipliers["lr"]) == (1e-3, 0.02, 0.02)
    assert not main["maximize"]
    assert multipliers["maximize"]
    assert isinstance(model.pruning, StructuredPruning)
    assert len(gates["params"]) == len(list(model.pruning.gates.parameters()))
    trained = {id(p) for group in (main, gates, multipliers) for p in group["params"]}
    assert trained == {id(p) for p in model.parameters() if p.requires_grad}


def test_steps_are_fused_on_cpus_only() -> None:
    """Also where a run that began on a CPU goes on elsewhere, and the other way round."""
    model = copy_of_teacher(PHASE_1)
    cpu, gpu = (pruning_optimizer(adamw_options(ngpu), model) for ngpu in (0, 1))
    plain = pruning_optimizer(adamw_options(foreach=False), model)
    assert [bool(o.param_groups[0]["fused"]) for o in (cpu, gpu, plain)] == [True, False, False]
    gpu.load_state_dict(cpu.state_dict())
    assert not any(group["fused"] for group in gpu.param_groups)


def test_a_fused_step_is_the_plain_one() -> None:
    weights = []
    for conf in ({}, {"foreach": False}):
        torch.manual_seed(0)
        model = copy_of_teacher(PHASE_1)
        optimizer = pruning_optimizer(adamw_options(**conf), model)
        generator = torch.Generator().manual_seed(0)
        for _ in range(3):
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.grad = torch.randn(parameter.shape, generator=generator)
            optimizer.step()
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-6, atol=1e-7)


def test_the_published_optimiser_of_the_arm_family_can_ascend_too() -> None:
    model = copy_of_teacher(PHASE_1)
    args = argparse.Namespace(optim="scheduled_adamw", optim_conf={"lr": 1e-3}, ngpu=0)
    optimizer = pruning_optimizer(args, model)
    assert isinstance(optimizer, ScheduledAdamW)
    assert [group["maximize"] for group in optimizer.param_groups] == [False, False, False, True]


def test_optimisers_that_cannot_ascend_are_refused() -> None:
    problems = pruning_optimizer_problems(argparse.Namespace(optim="rprop2"))
    assert problems == []  # unknown names are ESPnet's to refuse
    assert "adamw" in pruning_optimizer_problems(argparse.Namespace(optim="lbfgs"))[0]


@pytest.mark.parametrize("name", ["layer_distill", "masked_prediction"])
def test_a_pre_norm_student_trains_all_that_is_trainable(name: str, speech) -> None:
    """Distributed training stops where a trainable parameter gets no gradient."""
    student = SpeechEncoder.from_config(
        tiny_teacher(**NO_DROPOUT, norm_first=True, hidden_states="transformers").config
    )
    options = {"distill_layers": "0.3"} if name == "layer_distill" else {"num_classes": 4}
    model = SSLDistillModel(student, DistillConfig.from_dict({"objectives": {name: options}}))
    model.attach_teacher(EncoderTeacher("teacher", tiny_teacher(**NO_DROPOUT, norm_first=True)))
    lengths = (speech[1] - 400) // 320 + 1
    codes = {
        "codes": torch.zeros(3, int(lengths.max()), dtype=torch.long),
        "codes_lengths": lengths,
    }
    model(**batch(speech), **(codes if name == "masked_prediction" else {}))[0].backward()
    assert [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    assert student.encoder_norm.weight.requires_grad == (name == "masked_prediction")
