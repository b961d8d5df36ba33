"""The students and teachers of golden cases as our encoders, and how close they have to be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from golden_cases import GoldenCase, find_cases, params

from espnet_kd.checkpoints import armhubert, fairseq
from espnet_kd.encoder import SpeechEncoder

TEACHER_PREFIX = "teacher_model.model."


def student(case: GoldenCase, reuse_mode: str = "fixed") -> SpeechEncoder:
    """The case's student, read as a published checkpoint is."""
    content = {
        "state_dict": case.student_weights(),
        "hyper_parameters": {"cfg": case.config["yaml"], "model": case.config.get("model")},
    }
    return armhubert.from_content(content, case.name, None, {"reuse_mode": reuse_mode})


def teacher(case: GoldenCase) -> SpeechEncoder:
    """The case's teacher, read as a published checkpoint is."""
    weights = {n.removeprefix(TEACHER_PREFIX): t for n, t in case.teacher_weights().items()}
    options: dict[str, Any] = case.config["teacher_cfg"]
    content = {
        "cfg": {"model": options} if case.config["teacher_kind"] == "hubert" else options,
        "model": weights,
    }
    return fairseq.from_content(content, case.name, {})


def with_modes(system: str, key: str) -> list[Any]:
    """Parameters (case, mode) for every stored array of that name, e.g. ``batch.{}.total``."""
    return params(system, _stored(system, key), arity=2)


def _stored(system: str, key: str) -> Iterator[tuple[str, tuple[GoldenCase, str]]]:
    for case in find_cases(system):
        for mode in case.modes(key):
            yield f"{case.name}-{mode}", (case, mode)


def close(result: torch.Tensor, golden: torch.Tensor) -> None:
    """Assert equality up to what two versions of torch differ by (README of the golden folder)."""
    torch.testing.assert_close(result, golden, rtol=1e-4, atol=2e-5, check_dtype=False)
