"""Temporal relations: values by hand, invariances, padding and errors."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from espnet_kd.errors import ConfigError, KDError
from espnet_kd.losses import TemporalRelationLoss

B, T, N, H = 2, 6, 3, 2


def _sequences(seed: int, width: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(B, T, width, generator=generator) for _ in range(N + 1)]


def _maps(seed: int, heads: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(B, heads, T, T, generator=generator).softmax(dim=-1) for _ in range(N)]


def test_tiny_values_by_hand() -> None:
    student = [torch.tensor([[[1.0], [0.0]]]), torch.tensor([[[2.0], [1.0]]])]
    teacher = [torch.tensor([[[0.0, 1.0], [0.0, 1.0]]]), torch.tensor([[[1.0, 1.0], [0.0, 0.0]]])]
    result = TemporalRelationLoss(relation="dot", include_input=False)(student, teacher)
    # Outputs: student [[4, 2], [2, 1]], teacher [[2, 0], [0, 0]].
    assert result["layer_relation_loss"].item() == (4 + 4 + 4 + 1) / 4
    # Input to output: student [[2, 1], [0, 0]], teacher [[1, 0], [1, 0]].
    assert result["intra_relation_loss"].item() == (1 + 1 + 1 + 0) / 4
    assert result["loss"].item() == 13 / 4 + 3 / 4
    with_input = TemporalRelationLoss(relation="dot")(student, teacher)
    # Inputs: student [[1, 0], [0, 0]], teacher all ones.
    assert with_input["layer_relation_loss"].item() == (13 / 4 + 3 / 4) / 2
    scaled = TemporalRelationLoss(include_input=False)(student, teacher)
    # The teacher's products are halved: [[1, 0], [0, 0]] and [[.5, 0], [.5, 0]].
    assert scaled["layer_relation_loss"].item() == pytest.approx((9 + 4 + 4 + 1) / 4)
    assert scaled["intra_relation_loss"].item() == pytest.approx((2.25 + 1 + 0.25) / 4)


@pytest.mark.parametrize("relation", ["scaled_dot", "dot", "cosine"])
def test_agrees_with_the_plain_definition(relation: str) -> None:
    student, teacher = _sequences(1, 5), _sequences(2, 8)

    def gram(x: Tensor, y: Tensor) -> Tensor:
        g = torch.einsum("btd,bsd->bts", x, y)
        if relation == "scaled_dot":
            return g / x.shape[-1]
        if relation == "cosine":
            return g / (x.norm(dim=-1)[:, :, None] * y.norm(dim=-1)[:, None])
        return g

    def error(i: int, j: int) -> Tensor:
        return (gram(student[i], student[j]) - gram(teacher[i], teacher[j])).square().mean()

    result = TemporalRelationLoss(2.0, 3.0, relation=relation)(student, teacher)
    layer = torch.stack([error(i, i) for i in range(N + 1)]).mean()
    intra = torch.stack([error(i, i + 1) for i in range(N)]).mean()
    torch.testing.assert_close(result["layer_relation_loss"], layer)
    torch.testing.assert_close(result["intra_relation_loss"], intra)
    torch.testing.assert_close(result["loss"], 2 * layer + 3 * intra)


def test_rotating_the_channels_changes_nothing() -> None:
    student, teacher = _sequences(1, 5), _sequences(2, 8)
    rotation = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(0)))[0]
    loss = TemporalRelationLoss()
    turned = loss([x @ rotation for x in student], teacher)["loss"]
    torch.testing.assert_close(turned, loss(student, teacher)["loss"])


def test_equal_models_have_no_loss_and_maps_count_by_head_average() -> None:
    student = _sequences(1, 5)
    maps = _maps(3, H)
    loss = TemporalRelationLoss(attention_weight=1.0)
    doubled = [torch.cat([m, m], dim=1) for m in maps]
    result = loss(student, student, student_attention=maps, teacher_attention=doubled)
    assert result["loss"].abs().item() < 1e-6
    assert set(result) == {"loss", "layer_relation_loss", "intra_relation_loss", "attention_loss"}


def test_attention_loss_is_the_divergence_of_the_averages() -> None:
    ours, theirs = _maps(3, 2), _maps(4, 4)
    loss = TemporalRelationLoss(0.0, 0.0, 1.0)
    xs = _sequences(1, 5)
    result = loss(xs, xs, student_attention=ours, teacher_attention=theirs)
    expected = torch.stack(
        [
            torch.nn.functional.kl_div(
                s.mean(1).log().flatten(0, 1), t.mean(1).flatten(0, 1), reduction="batchmean"
            )
            for s, t in zip(ours, theirs, strict=True)
        ]
    ).mean()
    torch.testing.assert_close(result["loss"], expected)
    skipped = loss(
        xs,
        xs,
        student_attention=[ours[0], None, None],
        teacher_attention=[theirs[0], None, ours[0]],
    )
    alone = loss(xs, xs, student_attention=ours[:1], teacher_attention=theirs[:1])
    torch.testing.assert_close(skipped["loss"], alone["loss"])


@pytest.mark.parametrize("relation", ["scaled_dot", "dot", "cosine"])
def test_padding_changes_nothing(relation: str) -> None:
    student, teacher = _sequences(1, 5), _sequences(2, 8)
    lengths = [6, 4]
    padding = torch.arange(T)[None] >= torch.tensor(lengths)[:, None]
    junk = torch.where(padding[..., None], 1e3, 0.0)
    ours, theirs = _maps(3, H), _maps(4, H)
    loss = TemporalRelationLoss(1.0, 1.0, 1.0, relation=relation)
    short_maps = [
        [m[..., :frames, :frames] for m in maps] for maps in (ours, theirs) for frames in lengths
    ]
    padded_maps = [[m * ~padding[:, None, None] for m in maps] for maps in (ours, theirs)]
    whole = loss(
        [x + junk for x in student],
        [x - junk for x in teacher],
        padding,
        student_attention=padded_maps[0],
        teacher_attention=padded_maps[1],
    )
    pairs = sum(frames**2 for frames in lengths)
    expected = dict.fromkeys(("layer_relation_loss", "intra_relation_loss", "attention_loss"), 0.0)
    for b, frames in enumerate(lengths):
        one = loss(
            [x[b : b + 1, :frames] for x in student],
            [x[b : b + 1, :frames] for x in teacher],
            student_attention=[m[b : b + 1] for m in short_maps[b]],
            teacher_attention=[m[b : b + 1] for m in short_maps[2 + b]],
        )
        for name in expected:
            share = frames / sum(lengths) if name == "attention_loss" else frames**2 / pairs
            expected[name] += one[name].item() * share
    for name, value in expected.items():
        assert whole[name].item() == pytest.approx(value, rel=1e-4), name


def test_gradients_reach_the_student_only_where_it_takes_part() -> None:
    student = [x.requires_grad_() for x in _sequences(1, 5)]
    TemporalRelationLoss(1.0, 0.0, include_input=False)(student, _sequences(2, 8))[
        "loss"
    ].backward()
    assert student[0].grad is None or not student[0].grad.any()
    assert all(x.grad is not None and x.grad.any() for x in student[1:])


def test_errors_name_shapes_and_remedy() -> None:
    student, teacher = _sequences(1, 5), _sequences(2, 8)
    loss = TemporalRelationLoss()
    with pytest.raises(KDError, match=r"sequence 0: student \(2, 6, 5\), teacher \(2, 5, 8\)"):
        loss(student, [x[:, :5] for x in teacher])
    with pytest.raises(KDError, match="student has 4 layer.*teacher 3"):
        loss(student, teacher[1:])
    with pytest.raises(KDError, match="at least one layer"):
        TemporalRelationLoss(0.0)(student[:1], teacher[:1])
    attention = TemporalRelationLoss(attention_weight=1.0)
    with pytest.raises(KDError, match="return_attention_maps=True"):
        attention(student, teacher)
    with pytest.raises(KDError, match="no layer has one"):
        attention(student, teacher, student_attention=[None], teacher_attention=[None])
    with pytest.raises(KDError, match=r"\(2, 2, 6, 6\), teacher \(2, 2, 5, 6\)"):
        attention(
            student,
            teacher,
            student_attention=_maps(1, H),
            teacher_attention=[m[:, :, :5] for m in _maps(1, H)],
        )


def test_all_bad_options_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        TemporalRelationLoss(-1.0, -1.0, -1.0, "angle")
    assert len(error.value.problems) == 4
    with pytest.raises(ConfigError, match="all weights are 0"):
        TemporalRelationLoss(0.0, 0.0, 0.0)
