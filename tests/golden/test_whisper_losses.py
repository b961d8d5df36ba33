"""Losses at every temperature and weight, and six optimiser steps, against the reference's."""

from __future__ import annotations

import re
from typing import Any

import golden_whisper as golden
import pytest
import torch
from torch import Tensor

from espnet_kd.losses import LogitDistillLoss
from espnet_kd.optim import linear_warmup_decay
from espnet_kd.whisper.pair import published_teacher_input, run_pair, same_encoder
from espnet_kd.whisper.parameters import Freezing, parameter_groups

pytestmark = golden.marks

TEMPERATURE = 2.0  # of the trajectories
_DECAYED = "decayed_parameters_"


def _student() -> str:
    """Name of the student that is trained."""
    (key,) = (key for key in golden.document("losses") if key.startswith(_DECAYED))
    return str(key.removeprefix(_DECAYED))


def _teacher_input(batch: dict[str, Tensor], shared: bool) -> Tensor | None:
    """What the reference's teacher sees: with sharing, only the labels."""
    if not shared:
        return None
    ids = golden.specials()
    return published_teacher_input(batch["labels"], ids.start, ids.end)


def _run(student: Any, teacher: Any, batch: dict[str, Tensor], shared: bool) -> tuple[Any, Any]:
    ours, theirs = run_pair(
        student,
        teacher,
        batch["input_features"].clone(),
        batch["decoder_input_ids"],
        share_encoder=shared,
        teacher_input_BT=_teacher_input(batch, shared),
    )
    return ours.logits, theirs.logits


def _value(term: Tensor, expected: float) -> None:
    assert float(term.detach()) == pytest.approx(expected, rel=1e-5, abs=1e-5)


@torch.no_grad()
def test_losses() -> None:
    cases = golden.document("losses")["losses"]
    assert cases
    teacher, logits, students = golden.teacher().model, {}, {}
    for case in cases:
        name, shared = case["student"], case["share_hidden_states"]
        if name not in students:
            students[name] = golden.student(name).model
        key = (name, case["batch"], shared)
        batch = golden.batch(case["batch"])
        if key not in logits:
            logits[key] = _run(students[name], teacher, batch, shared)
        loss = LogitDistillLoss(kl_weight=case["kl_weight"], temperature=case["temperature"])
        ours, theirs = logits[key]
        terms = loss(ours, batch["labels"], theirs)
        _value(terms["loss_ce"], case["ce"])
        _value(terms["loss_kl"], case["kl"])
        _value(terms["loss"], case["loss"])
        terms = loss.validation(ours, batch["labels"], theirs)
        _value(terms["loss_kl"], case["eval_kl"])
        _value(terms["loss"], case["eval_loss"])


@torch.no_grad()
def test_sharing_changes_nothing_when_the_teacher_sees_the_prompt() -> None:
    """Only the reference's teacher input does: with the student's, both ways agree."""
    teacher, student = golden.teacher().model, golden.student(_student()).model
    assert same_encoder(student, teacher)
    batch = golden.batch("prompted")
    inputs = batch["input_features"], batch["decoder_input_ids"]
    _, separate = run_pair(student, teacher, *inputs)
    _, shared = run_pair(student, teacher, *inputs, share_encoder=True)
    torch.testing.assert_close(shared.logits, separate.logits, atol=1e-6, rtol=0)
    _, published = _run(student, teacher, batch, shared=True)
    assert not torch.allclose(published[-1], separate.logits[-1], atol=1e-3)


def test_decayed_parameters() -> None:
    decayed = golden.document("losses")[_DECAYED + _student()]
    assert decayed
    for flags, names in decayed.items():
        pairs = (flag.split("=") for flag in flags.split(","))
        freezing = Freezing(**{name: value == "True" for name, value in pairs})
        model = golden.student(_student()).model
        freezing.apply(model)
        parameters = dict(model.named_parameters())
        # The reference lists the encoder's positions, which no gradient ever reaches.
        expected = {name for name in names if parameters[name].requires_grad}
        ours = {id(p) for p in parameter_groups(model, 0.01, freezing)[0]["params"]}
        assert {name for name, p in parameters.items() if id(p) in ours} == expected
        never = set(names) - expected
        assert never <= {"model.encoder.embed_positions.weight"}


def _trajectories() -> list[Any]:
    if not golden.ROOT.is_dir():
        return [pytest.param(None, id="none")]
    return [pytest.param(t, id=t["name"]) for t in golden.document("losses")["trajectories"]]


@pytest.mark.parametrize("trajectory", _trajectories())
def test_six_steps(trajectory: dict[str, Any]) -> None:
    shared = trajectory["share_hidden_states"]
    freezing = Freezing(freeze_encoder="frozen_encoder" in trajectory["name"])
    teacher, student = golden.teacher().model, golden.student(_student()).model
    freezing.apply(student)
    optimizer = torch.optim.AdamW(
        parameter_groups(student, trajectory["weight_decay"], freezing), lr=trajectory["lr"]
    )
    loss = LogitDistillLoss(temperature=TEMPERATURE)
    warmup, total = map(int, re.findall(r"\d+", trajectory["schedule"]))
    student.train()
    for step in trajectory["steps"]:
        factor = linear_warmup_decay(step["step"], warmup, total)
        for group in optimizer.param_groups:
            group["lr"] = trajectory["lr"] * factor
        assert group["lr"] == pytest.approx(step["lr_used"])
        batch = golden.batch(step["batch"])
        ours, theirs = _run(student, teacher, batch, shared)
        terms = loss(ours, batch["labels"], theirs)
        for name, expected in (("loss", "loss"), ("loss_ce", "ce"), ("loss_kl", "kl")):
            _value(terms[name], step[expected])
        optimizer.zero_grad()
        terms["loss"].backward()
        trained = [p for p in student.parameters() if p.requires_grad]
        norm = torch.nn.utils.clip_grad_norm_(trained, trajectory["max_grad_norm"])
        assert float(norm) == pytest.approx(step["grad_norm_before_clip"], rel=1e-4)
        optimizer.step()
    _final(student, trajectory)


@torch.no_grad()
def _final(student: Any, trajectory: dict[str, Any]) -> None:
    parameters = dict(student.named_parameters())
    for name, norm in trajectory["final_param_norms"].items():
        assert float(parameters[name].norm()) == pytest.approx(norm, rel=1e-5), name
    batch = golden.batch("plain")
    logits = student.eval()(
        batch["input_features"], decoder_input_ids=batch["decoder_input_ids"]
    ).logits.double()
    assert float(logits.abs().mean()) == pytest.approx(
        trajectory["final_plain_logits_abs_mean"], rel=1e-5
    )
    # Of terms that cancel: rounding is relative to them, not to what is left.
    rounding = 1e-6 * float(logits.abs().sum())
    assert float(logits.sum()) == pytest.approx(
        trajectory["final_plain_logits_sum"], rel=0, abs=rounding
    )
