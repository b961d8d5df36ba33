"""Bring a stream of codes to the student's frames.

Shapes: B batch, T student frames, T' teacher frames, N code streams, M codes of a student frame.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from espnet_kd.errors import KDError
from espnet_kd.losses.frame_rate import length_problem, match_frame_rate


def fit_codes(
    codes: Tensor,
    code_lengths_B: Tensor,
    frame_lengths_B: Tensor,
    num_frames: int,
    *,
    tolerance: int,
    utterances: Sequence[str],
) -> Tensor:
    """Cut or fill codes to T frames.

    Args:
        codes: (B, T', N) or (B, T') integers, padded with -1.
        code_lengths_B: valid entries of each utterance.
        frame_lengths_B: valid frames of the student.
        num_frames: T.
        tolerance: by how many frames the two may differ.
        utterances: ids, for the message.

    Returns:
        (B, T, N) int64; frames without a code have -1.

    Raises:
        KDError: an utterance differs by more than the tolerance.
    """
    for name, has, needs in zip(
        utterances, code_lengths_B.tolist(), frame_lengths_B.tolist(), strict=True
    ):
        if abs(has - needs) > tolerance:
            raise KDError(
                f"utterance {name}: {has} codes for {needs} frames (tolerance {tolerance}); "
                "extract the codes of this recording again, at the student's frame rate"
            )
    codes_BTN = codes if codes.dim() == 3 else codes.unsqueeze(-1)
    codes_BTN = codes_BTN[:, :num_frames]
    missing = num_frames - codes_BTN.shape[1]
    return F.pad(codes_BTN.to(torch.int64), (0, 0, 0, missing), value=-1)


def codes_of_frames(
    codes: Tensor,
    code_lengths_B: Tensor,
    frame_lengths_B: Tensor,
    num_frames: int,
    ratio: float,
    *,
    delay: int,
    tolerance: int,
    utterances: Sequence[str],
) -> Tensor:
    """What each student frame predicts.

    Args:
        codes: (B, T', N) or (B, T') integers at the teacher's frame rate, padded with -1.
        code_lengths_B: valid entries of each utterance.
        frame_lengths_B: valid frames of the student.
        num_frames: T.
        ratio: teacher frames per student frame; see :func:`espnet_kd.losses.match_frame_rate`.
        delay: student frames by which the prediction comes later.
        tolerance: teacher frames by which an utterance's codes may be longer or shorter.
        utterances: ids, for the message.

    Returns:
        (B, T, M) int64; -1 where there is no code, or no frame.

    Raises:
        KDError: an utterance's codes do not fit its frames.
    """
    lengths = zip(utterances, code_lengths_B.tolist(), frame_lengths_B.tolist(), strict=True)
    for name, has, frames in lengths:
        problem = length_problem(has, frames, ratio, tolerance)
        if problem is not None:
            raise KDError(f"utterance {name}: {problem}")
    codes_BTN = (codes if codes.dim() == 3 else codes.unsqueeze(-1)).to(torch.int64)
    codes_BTM = match_frame_rate(
        codes_BTN, num_frames, ratio, delay=delay, tolerance=tolerance, ignore_index=-1
    )
    frame_T = torch.arange(num_frames, device=codes.device)
    beyond_BT = frame_T >= frame_lengths_B.to(codes.device).unsqueeze(1)
    return codes_BTM.masked_fill(beyond_BT.unsqueeze(2), -1)
