"""Speculative decoding: a student drafts tokens, its teacher checks several of them in one pass.

The text is the teacher's own. Where the two encoders are the same, as after training with a frozen
encoder, only the student's decoder works.
"""

from __future__ import annotations

import copy
from typing import Any

import torch

from espnet_kd.errors import WhisperError
from espnet_kd.whisper.load import WhisperBundle
from espnet_kd.whisper.pair import same_encoder


def make_draft(student: WhisperBundle, teacher: WhisperBundle) -> Any:
    """The model that ``generate`` of the teacher takes as ``assistant_model``.

    Returns:
        A ``WhisperForCausalLM`` of the student's own decoder, without an encoder, where the
        encoders are equal; else the student.

    Raises:
        WhisperError: the two do not share vocabulary or input.
    """
    _check_pair(student, teacher)
    if not same_encoder(student.model, teacher.model):
        return student.model
    from transformers import WhisperForCausalLM

    with torch.device("meta"):  # its own weights are thrown away at once
        drafter = WhisperForCausalLM._from_config(
            copy.deepcopy(student.model.config),
            attn_implementation=student.model.config._attn_implementation,
        )
    drafter.model.decoder = student.model.model.decoder
    drafter.proj_out = student.model.proj_out
    drafter.generation_config = copy.deepcopy(student.model.generation_config)
    return drafter.eval()


def _check_pair(student: WhisperBundle, teacher: WhisperBundle) -> None:
    problems = []
    if student.specials != teacher.specials or (
        student.model.config.vocab_size != teacher.model.config.vocab_size
    ):
        problems.append("they have different vocabularies")
    for name in ("feature_size", "n_samples"):
        ours, theirs = (getattr(b.feature_extractor, name) for b in (student, teacher))
        if ours != theirs:
            problems.append(f"{name} of their input is {ours} and {theirs}")
    if problems:
        raise WhisperError(
            f"{student.name} cannot draft for {teacher.name}: {'; '.join(problems)}; take a "
            "student that was made of this teacher"
        )
