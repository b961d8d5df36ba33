"""Teacher outputs that are not finite are the teacher's fault, and say whose recording it was."""

from __future__ import annotations

import pytest
import torch

from espnet_kd.losses import TeacherTargetError, check_finite_targets


def test_finite_targets_pass() -> None:
    check_finite_targets([torch.zeros(2, 3, 4)] * 2, ["a", "b"])
    check_finite_targets([], [])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_the_teacher_and_the_utterances_are_named(value: float) -> None:
    targets = torch.zeros(3, 4, 5, 6)
    targets[1, 0, 2, 3] = value
    targets[1, 3, 0, 0] = value
    pattern = r"teacher's output of layer 1 .*: utt0, utt3;.*float32"
    with pytest.raises(TeacherTargetError, match=pattern):
        check_finite_targets(targets, ["utt0", "utt1", "utt2", "utt3"])


def test_padding_may_hold_anything() -> None:
    targets = torch.zeros(2, 2, 3, 4)
    targets[0, 1, 2] = float("nan")
    padding = torch.tensor([[False, False, False], [False, False, True]])
    check_finite_targets(targets, ["a", "b"], padding)
    with pytest.raises(TeacherTargetError, match=": b;"):
        check_finite_targets(targets, ["a", "b"], torch.zeros_like(padding))
