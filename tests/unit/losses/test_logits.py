"""Cross-entropy and temperature KL: by hand, padding, accumulation, gradients, wrong input."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from espnet_kd.errors import ConfigError
from espnet_kd.losses import LogitDistillLoss, LossInputError
from espnet_kd.losses.logits import IGNORE_INDEX


def logits(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


LABELS = torch.tensor([[1, 4, 0], [2, IGNORE_INDEX, IGNORE_INDEX]])


def test_by_hand() -> None:
    """Student (1/4, 3/4), teacher (1/2, 1/2) at T = 1."""
    student = torch.tensor([[[0.0, math.log(3.0)]]])
    teacher = torch.zeros(1, 1, 2)
    loss = LogitDistillLoss(ce_weight=0.8, kl_weight=0.5, temperature=1.0)
    terms = loss(student, torch.tensor([[0]]), teacher)
    kl = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    assert float(terms["loss_ce"]) == pytest.approx(math.log(4.0))
    assert float(terms["loss_kl"]) == pytest.approx(kl)
    assert float(terms["loss"]) == pytest.approx(0.8 * math.log(4.0) + 0.5 * kl)


@pytest.mark.parametrize("temperature", [0.5, 2.0, 4.0])
def test_temperature_divides_logits_and_multiplies_by_its_square(temperature: float) -> None:
    student, teacher = logits(2, 3, 5), logits(2, 3, 5, seed=1)
    warm = LogitDistillLoss(temperature=temperature)(student, LABELS, teacher)
    cold = LogitDistillLoss(temperature=1.0)(student / temperature, LABELS, teacher / temperature)
    expected = temperature**2 * cold["loss_kl"]
    torch.testing.assert_close(warm["loss_kl"], expected)


def test_defaults_are_the_published_ones() -> None:
    loss = LogitDistillLoss()
    assert (loss.ce_weight, loss.kl_weight, loss.temperature) == (0.8, 1.0, 2.0)


def test_validation_has_temperature_1() -> None:
    student, teacher = logits(2, 3, 5), logits(2, 3, 5, seed=1)
    found = LogitDistillLoss(temperature=3.0).validation(student, LABELS, teacher)
    expected = LogitDistillLoss(temperature=1.0)(student, LABELS, teacher)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)


def test_a_perfect_student() -> None:
    student = logits(2, 3, 5)
    terms = LogitDistillLoss()(student, LABELS, student.clone())
    assert float(terms["loss_kl"]) == pytest.approx(0, abs=1e-6)


def test_without_a_teacher_it_is_cross_entropy() -> None:
    student = logits(2, 3, 5)
    terms = LogitDistillLoss(ce_weight=1.0)(student, LABELS)
    expected = torch.nn.functional.cross_entropy(student.reshape(-1, 5), LABELS.reshape(-1))
    torch.testing.assert_close(terms["loss"], expected)
    assert sorted(terms) == ["loss", "loss_ce"]


def test_padding_counts_for_nothing() -> None:
    student, teacher = logits(2, 3, 5), logits(2, 3, 5, seed=1)
    before = LogitDistillLoss()(student, LABELS, teacher)
    for tensor in (student, teacher):
        tensor[LABELS == IGNORE_INDEX] = float("nan")
    after = LogitDistillLoss()(student, LABELS, teacher)
    longer = torch.nn.functional.pad(LABELS, (0, 2), value=IGNORE_INDEX)
    padded = LogitDistillLoss()(
        *(torch.nn.functional.pad(student, (0, 0, 0, 2)), longer),
        torch.nn.functional.pad(teacher, (0, 0, 0, 2)),
    )
    for name, term in before.items():
        assert torch.equal(after[name], term), name
        torch.testing.assert_close(padded[name], term)


def test_positions_in_a_row_are_the_same_batch() -> None:
    """Flattened, or already without what has no label: (N, V) logits with (N,) labels."""
    student, teacher = logits(2, 3, 5), logits(2, 3, 5, seed=1)
    loss, keep = LogitDistillLoss(), LABELS != IGNORE_INDEX
    flat = (student.flatten(0, 1), LABELS.flatten(), teacher.flatten(0, 1))
    chosen = (student[keep], LABELS[keep], teacher[keep])
    for compute in (loss, loss.validation):
        expected = compute(student, LABELS, teacher)
        for parts in (flat, chosen):
            found = compute(*parts)
            assert found.keys() == expected.keys()
            assert all(torch.equal(found[name], expected[name]) for name in found)
    assert sorted(loss(student[keep], LABELS[keep])) == ["loss", "loss_ce"]


def test_parts_of_an_accumulated_batch_add_up() -> None:
    """Rows of 3 and 1 labels: the mean over tokens, not the mean of two means."""
    student, teacher = logits(2, 3, 5), logits(2, 3, 5, seed=1)
    loss, number = LogitDistillLoss(), int((LABELS != IGNORE_INDEX).sum())
    whole = loss(student, LABELS, teacher)
    for count in (number, torch.tensor(number)):
        parts = [
            loss(student[i : i + 1], LABELS[i : i + 1], teacher[i : i + 1], num_tokens=count)
            for i in range(2)
        ]
        for name, term in whole.items():
            torch.testing.assert_close(parts[0][name] + parts[1][name], term)
    means = [loss(student[i : i + 1], LABELS[i : i + 1], teacher[i : i + 1]) for i in range(2)]
    assert not torch.allclose((means[0]["loss"] + means[1]["loss"]) / 2, whole["loss"])


def test_nothing_to_learn_is_zero() -> None:
    student = logits(1, 3, 5).requires_grad_()
    labels = torch.full((1, 3), IGNORE_INDEX)
    terms = LogitDistillLoss()(student, labels, logits(1, 3, 5, seed=1))
    terms["loss"].backward()
    assert all(float(term.detach()) == 0.0 for term in terms.values())
    assert float(student.grad.abs().max()) == 0.0


def test_gradient() -> None:
    """(ce_weight (q1 - onehot) + kl_weight T (qT - pT)) / n."""
    student, teacher = logits(2, 3, 5).requires_grad_(), logits(2, 3, 5, seed=1).requires_grad_()
    loss = LogitDistillLoss(ce_weight=0.7, kl_weight=0.3, temperature=2.0)
    loss(student, LABELS, teacher)["loss"].backward()
    keep = (LABELS != IGNORE_INDEX).unsqueeze(-1)
    onehot = torch.nn.functional.one_hot(LABELS.clamp(min=0), 5)
    q, q2, p2 = (x.detach().softmax(-1) for x in (student, student / 2, teacher / 2))
    expected = keep * (0.7 * (q - onehot) + 0.3 * 2.0 * (q2 - p2)) / 4
    torch.testing.assert_close(student.grad, expected)
    assert teacher.grad is None


def test_half_precision_is_computed_in_float32() -> None:
    student, teacher = logits(2, 3, 5).bfloat16(), logits(2, 3, 5, seed=1).bfloat16()
    found = LogitDistillLoss()(student, LABELS, teacher)
    expected = LogitDistillLoss()(student.float(), LABELS, teacher.float())
    assert found["loss"].dtype == torch.float32
    assert torch.equal(found["loss"], expected["loss"])


@pytest.mark.parametrize(
    ("labels", "teacher", "message"),
    [
        (torch.zeros(2, 4, dtype=torch.long), None, "one label per position"),
        (LABELS, (2, 3, 6), "same vocabulary"),
        (LABELS, (2, 4, 5), "same tokens"),
    ],
)
def test_shapes_that_do_not_fit(
    labels: Tensor, teacher: tuple[int, ...] | None, message: str
) -> None:
    other = None if teacher is None else logits(*teacher)
    with pytest.raises(LossInputError, match=message):
        LogitDistillLoss()(logits(2, 3, 5), labels, other)


@pytest.mark.parametrize(
    "shapes", [((6, 5), (2, 3)), ((6, 5), (5,)), ((5,), ()), ((2, 3, 5), (6,))]
)
def test_positions_in_a_row_need_a_label_each(shapes: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(LossInputError, match="one label per position"):
        LogitDistillLoss()(logits(*shapes[0]), torch.zeros(shapes[1], dtype=torch.long))


@pytest.mark.parametrize(
    "options", [{"ce_weight": -1.0}, {"kl_weight": float("nan")}, {"temperature": 0.0}]
)
def test_options_that_make_no_sense(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        LogitDistillLoss(**options)
