"""Input checks that every loss shares: one clear message instead of a broadcasting error.

Shapes: B batch, T frames, D width, N layers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from espnet_kd.errors import KDError


class LossInputError(KDError, ValueError):
    """Student and teacher tensors do not fit each other; the message names both shapes."""


class TeacherTargetError(KDError, ValueError):
    """The teacher produced NaN or infinity; the message names the utterances."""


def shape_text(x: Tensor) -> str:
    """Return a tensor's shape for a message, e.g. ``(2, 49, 768)``."""
    return str(tuple(x.shape))


def check_layer_count(
    student: Sequence[Tensor] | Tensor, teacher: Sequence[Tensor] | Tensor
) -> None:
    """Raise ``LossInputError`` unless student and teacher have equally many layers, at least 1."""
    if len(student) != len(teacher) or len(student) == 0:
        raise LossInputError(
            f"the student has {len(student)} layer(s), the teacher {len(teacher)}; layer i learns "
            "from layer i, so select as many teacher layers as the student has"
        )


def check_same_frames(student_BTD: Tensor, teacher_BTD: Tensor, what: str) -> None:
    """Raise ``LossInputError`` unless both are (B, T, ·) with equal B and T."""
    if student_BTD.dim() != 3 or teacher_BTD.dim() != 3:
        problem = "both must have the shape (batch, frames, width)"
    elif student_BTD.shape[:2] != teacher_BTD.shape[:2]:
        problem = (
            "batch and frames must agree; give both models the same waveforms and a student whose "
            "convolutions have the teacher's strides and kernels"
        )
    else:
        return
    raise LossInputError(
        f"{what}: student {shape_text(student_BTD)}, teacher {shape_text(teacher_BTD)}; {problem}"
    )


def check_same_shape(student_BTD: Tensor, teacher_BTD: Tensor, what: str) -> None:
    """Raise ``LossInputError`` unless both have the same shape (B, T, D)."""
    check_same_frames(student_BTD, teacher_BTD, what)
    if student_BTD.shape != teacher_BTD.shape:
        raise LossInputError(
            f"{what}: student {shape_text(student_BTD)}, teacher {shape_text(teacher_BTD)}; the "
            f"widths must agree, so set the student's head_dim to {teacher_BTD.shape[-1]}"
        )


def check_frame_flags(flags_BT: Tensor | None, x_BTD: Tensor, name: str) -> None:
    """Raise ``LossInputError`` unless a frame mask is None or boolean and of shape (B, T)."""
    if flags_BT is None:
        return
    if flags_BT.dtype != torch.bool or flags_BT.shape != x_BTD.shape[:2]:
        raise LossInputError(
            f"{name} is {flags_BT.dtype} {shape_text(flags_BT)}, but the frames are "
            f"{shape_text(x_BTD)}; it must be boolean with the shape {shape_text(x_BTD[..., 0])}"
        )


def check_finite_targets(
    targets: Sequence[Tensor] | Tensor,
    utt_ids: Sequence[str],
    padding_BT: Tensor | None = None,
) -> None:
    """Raise ``TeacherTargetError`` when a teacher output is not finite.

    Args:
        targets: N teacher outputs (B, T, D).
        utt_ids: The B utterance names, for the message.
        padding_BT: True = padded frame, whose value does not matter.
    """
    if len(targets) == 0 or bool(torch.stack([torch.isfinite(x).all() for x in targets]).all()):
        return  # the usual case costs one synchronisation, whatever the number of layers
    for layer, x_BTD in enumerate(targets):
        bad_BT = ~torch.isfinite(x_BTD).all(dim=-1)
        if padding_BT is not None:
            bad_BT = bad_BT & ~padding_BT
        bad_B = bad_BT.any(dim=-1).tolist()
        if any(bad_B):
            names = ", ".join(name for name, bad in zip(utt_ids, bad_B, strict=True) if bad)
            raise TeacherTargetError(
                f"the teacher's output of layer {layer} is NaN or infinite for: {names}; the "
                "student is not at fault. Check these recordings and the teacher's weights; if the "
                "teacher runs in half precision, run it in float32"
            )
