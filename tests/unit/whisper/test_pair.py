"""Student and teacher on one batch: shared encoder, gradients, frozen parts, decay."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from espnet_kd.losses import HiddenStateLoss, LogitDistillLoss
from espnet_kd.whisper import WhisperBundle, load_whisper
from espnet_kd.whisper.collate import IGNORE_INDEX
from espnet_kd.whisper.pair import published_teacher_input, run_pair, same_encoder
from espnet_kd.whisper.parameters import Freezing, parameter_groups
from espnet_kd.whisper.shrink import shrink_whisper


@pytest.fixture(scope="module")
def teacher(teacher_folder: Path) -> WhisperBundle:
    """Four and four layers."""
    return load_whisper(teacher_folder)


@pytest.fixture
def student(teacher: WhisperBundle) -> Any:
    return shrink_whisper(teacher)[0].model


@pytest.fixture
def batch(teacher: WhisperBundle) -> tuple[Tensor, Tensor]:
    """Features and decoder input."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 80, 200, generator=generator), torch.tensor(
        [[50258, 50276, 50359, 50363, 5, 6], [50361, 7, 50258, 50276, 50359, 50364]]
    )


def test_sharing_changes_nothing(
    student: Any, teacher: WhisperBundle, batch: tuple[Tensor, Tensor]
) -> None:
    separate = run_pair(student, teacher.model, *batch)
    shared = run_pair(student, teacher.model, *batch, share_encoder=True)
    for one, other in zip(separate, shared, strict=True):
        torch.testing.assert_close(one.logits, other.logits, atol=1e-5, rtol=1e-5)


def test_the_teachers_encoder_is_not_run_when_shared(
    student: Any, teacher: WhisperBundle, batch: tuple[Tensor, Tensor]
) -> None:
    calls: list[str] = []
    hooks = [
        model.model.encoder.register_forward_hook(lambda *_, name=name: calls.append(name))
        for name, model in (("student", student), ("teacher", teacher.model))
    ]
    run_pair(student, teacher.model, *batch, share_encoder=True)
    assert calls == ["student"]
    run_pair(student, teacher.model, *batch)
    assert sorted(calls) == ["student", "student", "teacher"]
    for hook in hooks:
        hook.remove()


def test_same_encoder(student: Any, teacher: WhisperBundle) -> None:
    assert same_encoder(student, teacher.model)
    assert same_encoder(student, copy.deepcopy(teacher.model).to(torch.bfloat16))
    with torch.no_grad():
        student.model.encoder.layers[2].fc1.bias[0] += 1e-3
    assert not same_encoder(student, teacher.model)
    for options in ({"encoder_layers": 2}, {"max_source_positions": 50}):
        smaller, _ = shrink_whisper(teacher, **options)
        assert not same_encoder(smaller.model, teacher.model)


def test_gradients_stay_in_the_student(
    student: Any, teacher: WhisperBundle, batch: tuple[Tensor, Tensor]
) -> None:
    Freezing(freeze_encoder=True).apply(student)
    student.train()
    ours, theirs = run_pair(student, teacher.model, *batch, share_encoder=True)
    LogitDistillLoss()(ours.logits, batch[1], theirs.logits)["loss"].backward()
    assert all(p.grad is None for p in teacher.model.parameters())
    assert all(p.grad is None for p in student.model.encoder.parameters())
    assert all(p.grad is not None for p in student.model.decoder.parameters())


def test_hidden_states_fit_their_loss(
    student: Any, teacher: WhisperBundle, batch: tuple[Tensor, Tensor]
) -> None:
    ours, theirs = run_pair(student, teacher.model, *batch, hidden_states=True)
    loss = HiddenStateLoss(2, 4)
    value = loss(ours.decoder_hidden_states, theirs.decoder_hidden_states)["loss"]
    assert float(value.detach()) > 0
    assert loss.pairs == [(0, 0), (1, 2), (2, 4)]
    encoders = HiddenStateLoss(4, 4)(ours.encoder_hidden_states, theirs.encoder_hidden_states)
    assert float(encoders["loss"].detach()) == pytest.approx(0, abs=1e-9)


def test_published_teacher_input() -> None:
    labels = torch.tensor([[5, 6, IGNORE_INDEX], [IGNORE_INDEX, IGNORE_INDEX, 7]])
    assert published_teacher_input(labels, 1, 0).tolist() == [[1, 5, 6], [1, 0, 0]]


@pytest.mark.parametrize(
    ("freezing", "trained", "frozen"),
    [
        (Freezing(), "model.encoder.conv1.weight", "model.encoder.embed_positions.weight"),
        (
            Freezing(freeze_encoder=True),
            "model.decoder.layer_norm.bias",
            "model.encoder.conv1.bias",
        ),
        (
            Freezing(freeze_decoder=True),
            "model.decoder.embed_tokens.weight",
            "model.decoder.layers.0.fc1.weight",
        ),
        (
            Freezing(freeze_embed_positions=True),
            "model.decoder.layers.0.fc1.weight",
            "model.decoder.embed_positions.weight",
        ),
    ],
    ids=["nothing", "encoder", "decoder", "positions"],
)
def test_frozen_parts(student: Any, freezing: Freezing, trained: str, frozen: str) -> None:
    Freezing(freeze_encoder=True, freeze_decoder=True).apply(student)
    freezing.apply(student)
    parameters = dict(student.named_parameters())
    assert parameters[trained].requires_grad
    assert not parameters[frozen].requires_grad
    decayed, plain = parameter_groups(student, 0.1, freezing)
    grouped = {id(p) for p in (*decayed["params"], *plain["params"])}
    assert grouped == {id(p) for p in parameters.values() if p.requires_grad}
    assert all(p.dim() > 1 for p in decayed["params"])
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)
