"""Six steps and the learning-rate schedules through our ESPnet model, optimiser and schedulers."""

from __future__ import annotations

import argparse
import re
from typing import Any

import golden_whisper as golden
import pytest
import torch

from espnet_kd.tasks.scheduler import ConstantWithWarmup, LinearWithWarmup
from espnet_kd.tasks.whisper_distill import WhisperDistillTask
from espnet_kd.tasks.whisper_model import WhisperDistillModel
from espnet_kd.tasks.whisper_options import WhisperDistillConfig
from espnet_kd.tasks.whisper_teacher import WhisperTeacher

pytestmark = golden.marks

_DECAYED = "decayed_parameters_"


def _model(trajectory: dict[str, Any]) -> WhisperDistillModel:
    (name,) = (key for key in golden.document("losses") if key.startswith(_DECAYED))
    kd = WhisperDistillConfig(
        freeze_encoder="frozen_encoder" in trajectory["name"],
        share_hidden_states=trajectory["share_hidden_states"],
        teacher_sees_prompt=not trajectory["share_hidden_states"],
        average_over="micro_batch",
    )
    student = golden.student(name.removeprefix(_DECAYED))
    model = WhisperDistillModel(student, kd, with_teacher=True)
    model.attach_teacher(WhisperTeacher(golden.teacher()))
    return model


def _trajectories() -> list[Any]:
    if not golden.ROOT.is_dir():
        return [pytest.param(None, id="none")]
    return [pytest.param(t, id=t["name"]) for t in golden.document("losses")["trajectories"]]


@pytest.mark.parametrize("trajectory", _trajectories())
def test_six_steps(trajectory: dict[str, Any]) -> None:
    model = _model(trajectory)
    conf = {"lr": trajectory["lr"], "weight_decay": trajectory["weight_decay"]}
    args = argparse.Namespace(optim="adamw", optim_conf=conf, exclude_weight_decay=False)
    (optimizer,) = WhisperDistillTask.build_optimizers(args, model)
    warmup, total = map(int, re.findall(r"\d+", trajectory["schedule"]))
    scheduler = LinearWithWarmup(optimizer, warmup_steps=warmup, total_steps=total)
    model.train()
    for step in trajectory["steps"]:
        assert optimizer.param_groups[0]["lr"] == pytest.approx(step["lr_used"])
        loss, stats, _ = model(**golden.batch(step["batch"]))
        for name, key in (("loss", "loss"), ("loss_ce", "ce"), ("loss_kl", "kl")):
            assert float(stats[name]) == pytest.approx(step[key], rel=1e-5, abs=1e-5)
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), trajectory["max_grad_norm"])
        assert float(norm) == pytest.approx(step["grad_norm_before_clip"], rel=1e-4)
        optimizer.step()
        scheduler.step()
        model.updated()
    parameters = dict(model.student.named_parameters())
    for name, norm in trajectory["final_param_norms"].items():
        assert float(parameters[name].detach().norm()) == pytest.approx(norm, rel=1e-5), name


def _schedules() -> list[Any]:
    if not golden.ROOT.is_dir():
        return [pytest.param(None, id="none")]
    found = golden.document("misc")["lr_schedules"]
    return [pytest.param(schedule, id=name) for name, schedule in found.items()]


@pytest.mark.parametrize("expected", _schedules())
def test_learning_rates(expected: dict[str, Any]) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=expected["lr"])
    if expected["name"] == "linear":
        scheduler: Any = LinearWithWarmup(optimizer, expected["warm"], expected["total"])
    else:
        assert expected["name"] == "constant_with_warmup"
        scheduler = ConstantWithWarmup(optimizer, expected["warm"])
    for rate in expected["lr_at_step"]:
        assert optimizer.param_groups[0]["lr"] == pytest.approx(rate, abs=1e-12)
        optimizer.step()
        scheduler.step()
