"""Layer maps, shrunk students and their logits against the reference's."""

from __future__ import annotations

from typing import Any

import golden_whisper as golden
import pytest
import torch

from espnet_kd.errors import ConfigError
from espnet_kd.whisper.collate import collate_tokens
from espnet_kd.whisper.layers import select_layers, spaced_layers

pytestmark = golden.marks


def test_layer_table() -> None:
    table = golden.document("init_mapping")["table"]
    assert table
    for pair, expected in table.items():
        teacher, student = map(int, pair.split("->"))
        assert spaced_layers(teacher, student) == expected, pair


def _layers(case: dict[str, Any], *, compat: bool) -> dict[str, list[int]]:
    encoder, decoder = case["teacher"]
    asked = case["student_args"]
    return {
        "encoder": select_layers(encoder, asked["encoder_layers"]),
        "decoder": select_layers(
            decoder, asked["decoder_layers"], asked["decoder_layers_numbers"], compat=compat
        ),
    }


def test_executed_initialisations() -> None:
    cases = golden.document("init_mapping")["executed"]
    assert cases
    for case in cases:
        if "error" in case:
            for compat in (True, False):
                with pytest.raises(ConfigError):
                    _layers(case, compat=compat)
        else:
            assert _layers(case, compat=True) == case["result"], case


def test_lists_of_layers_mean_what_they_say() -> None:
    """Where the reference reads a list otherwise, ours resolves it or refuses it."""
    for case in golden.document("init_mapping")["executed"]:
        numbers, layers = case["student_args"]["decoder_layers_numbers"], case["teacher"][1]
        if numbers is None or "error" in case:
            continue
        if all(-layers <= number < layers for number in numbers):
            wanted = [range(layers)[number] for number in numbers]
            assert _layers(case, compat=False)["decoder"] == wanted
        else:
            with pytest.raises(ConfigError, match="do not exist"):
                _layers(case, compat=False)


def test_batch_is_collated() -> None:
    losses = golden.document("losses")
    collated = collate_tokens(
        losses["token_sequences"], golden.specials(), pad_to=losses["max_target_length"]
    )
    for name, expected in golden.batch("prompted").items():
        if name != "input_features":
            assert torch.equal(collated[name], expected), name


@torch.no_grad()
def test_teacher_logits() -> None:
    batch = golden.batch("prompted")
    batch.pop("labels")
    output = golden.teacher().model(**batch)
    expected = golden.arrays("forward")
    torch.testing.assert_close(output.logits, expected["teacher_logits"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        output.encoder_last_hidden_state, expected["teacher_encoder_hidden"], atol=1e-5, rtol=1e-5
    )


@torch.no_grad()
def test_student_logits() -> None:
    batch = golden.batch("prompted")
    batch.pop("labels")
    names = [student["name"] for student in golden.document("losses")["students"]]
    assert names
    for name in names:
        logits = golden.student(name).model(**batch).logits
        expected = golden.arrays("forward")[f"logits_{name}"]
        torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)
