"""Codes at another frame rate than the student's."""

from __future__ import annotations

import pytest
import torch

from espnet_kd.errors import ConfigError
from espnet_kd.losses import LossInputError, match_frame_rate

CODES = torch.arange(2 * 7 * 3).view(2, 7, 3)


def test_two_teacher_frames_a_student_frame():
    paired = match_frame_rate(CODES, 3)
    assert torch.equal(paired, CODES[:, :6].reshape(2, 3, 6))


def test_missing_codes_are_ignored_positions():
    paired = match_frame_rate(CODES, 4)
    assert torch.equal(paired[:, 3, :3], CODES[:, 6])
    assert (paired[:, 3, 3:] == -100).all()


def test_faster_student_repeats_codes():
    repeated = match_frame_rate(CODES, 13, ratio=0.5)
    assert torch.equal(repeated[:, 0::2], CODES)
    assert torch.equal(repeated[:, 1::2], CODES[:, :6])


def test_same_rate_and_delay():
    assert torch.equal(match_frame_rate(CODES, 7, 1), CODES)
    late = match_frame_rate(CODES, 3, delay=1)
    assert (late[:, 0] == -100).all()
    assert torch.equal(late[:, 1:], match_frame_rate(CODES, 3)[:, :2])


@pytest.mark.parametrize("frames", [0, 7])
def test_lengths_too_far_apart(frames):
    with pytest.raises(LossInputError, match="frames apart"):
        match_frame_rate(CODES, frames)


def test_bad_options_and_shapes():
    with pytest.raises(ConfigError) as error:
        match_frame_rate(CODES, 3, 1.5, delay=-1)
    assert len(error.value.problems) == 2
    with pytest.raises(LossInputError, match="batch, frames, N"):
        match_frame_rate(CODES[0], 3)
