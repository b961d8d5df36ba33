"""Student and teacher on one batch, with the encoder run once where both have the same.

Source: Distil-Whisper's training step; spec whisper.md 4.2.

Shapes: B batch, M mel bins, F feature frames, T tokens.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from espnet_kd.whisper.collate import IGNORE_INDEX


def same_encoder(student: Any, teacher: Any) -> bool:
    """Whether two models have equal encoders, weight by weight.

    The published training looks at the width alone, and then feeds a teacher with the states of a
    shrunk or fine-tuned encoder.
    """
    ours = student.model.encoder.state_dict()
    theirs = teacher.model.encoder.state_dict()
    if ours.keys() != theirs.keys():
        return False
    return all(
        tensor.shape == theirs[name].shape and torch.equal(tensor.to(theirs[name]), theirs[name])
        for name, tensor in ours.items()
    )


def run_pair(
    student: Any,
    teacher: Any,
    features_BMF: Tensor,
    decoder_input_BT: Tensor,
    *,
    share_encoder: bool = False,
    teacher_input_BT: Tensor | None = None,
    hidden_states: bool = False,
) -> tuple[Any, Any]:
    """Outputs of both models; no gradient flows through the teacher.

    Args:
        student: ``WhisperForConditionalGeneration``.
        teacher: the same, in eval mode.
        features_BMF: log-mel features.
        decoder_input_BT: tokens that the decoder sees.
        share_encoder: the teacher's decoder gets the student's encoder states; only right while
            both encoders are equal (:func:`same_encoder`).
        teacher_input_BT: tokens for the teacher, where they differ: :func:`published_teacher_input`
            repeats what the original does when it shares.
        hidden_states: also return the hidden states of all layers.

    Returns:
        Transformers' outputs of student and teacher (``logits`` and so on).
    """
    options = {"use_cache": False, "output_hidden_states": hidden_states}
    teacher_input_BT = decoder_input_BT if teacher_input_BT is None else teacher_input_BT
    if share_encoder:
        ours = student(features_BMF, decoder_input_ids=decoder_input_BT, **options)
        states = ours.encoder_last_hidden_state.detach().to(teacher.dtype)
        with torch.no_grad():
            theirs = teacher(
                encoder_outputs=(states,), decoder_input_ids=teacher_input_BT, **options
            )
        return ours, theirs
    # First the teacher: a student's own augmentation writes into the features.
    with torch.no_grad():
        theirs = teacher(
            features_BMF.to(teacher.dtype), decoder_input_ids=teacher_input_BT, **options
        )
    return student(features_BMF, decoder_input_ids=decoder_input_BT, **options), theirs


def published_teacher_input(labels_BT: Tensor, start: int, pad: int) -> Tensor:
    """Labels shifted right behind the start token, with padding where there is no label.

    The original gives its teacher these tokens when encoders are shared; behind a prompt, which has
    no labels, the teacher then sees padding instead of the prompt.
    """
    shifted_BT = labels_BT.new_full(labels_BT.shape, start)
    shifted_BT[:, 1:] = labels_BT[:, :-1]
    return shifted_BT.masked_fill(shifted_BT == IGNORE_INDEX, pad)
