"""Bring a stream of codes to the student's frames.

Shapes: B batch, T frames, N code streams.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from espnet_kd.errors import KDError


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
                f"extract the "
                "codes of this recording again, at the student's frame rate"
            )
    codes_BTN = codes if codes.dim() == 3 else codes.unsqueeze(-1)
    codes_BTN = codes_BTN[:, :num_frames]
    missing = num_frames - codes_BTN.shape[1]
    return F.pad(codes_BTN.to(torch.int64), (0, 0, 0, missing), value=-1)
