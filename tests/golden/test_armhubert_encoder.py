"""Students and teachers against the published numbers: hidden states, maps, features, padding."""

from __future__ import annotations

import re

import pytest
import torch
from golden_cases import GoldenCase, case_params, find_cases, params
from golden_models import close, student, teacher, with_modes

from espnet_kd.encoder.attention import SharedMap

pytestmark = [pytest.mark.golden, pytest.mark.usefixtures("no_grad")]

SYSTEM = "armhubert"


@pytest.fixture
def no_grad():
    with torch.no_grad():
        yield


def _has(*names: str):
    return lambda case: all(name in case.arrays for name in names)


def _solo(case: GoldenCase) -> torch.Tensor:
    return case.tensor("wav")[int(case.array("solo_index"))][None]


@pytest.mark.parametrize(("case", "mode"), with_modes(SYSTEM, "expert.{}.hidden_states"))
def test_hidden_states_of_a_batch(case: GoldenCase, mode: str) -> None:
    if mode.startswith("single_utt"):
        index = int(mode.removeprefix("single_utt"))
        samples = int(case.array("wav_len")[index])
        # Alone there is nothing to mix: the published and the repaired way agree.
        for reuse_mode in ("ref", "fixed"):
            output = student(case, reuse_mode)(case.tensor("wav")[index : index + 1, :samples])
            states = torch.cat(output.hidden_states)
            close(states, case.tensor(f"expert.{mode}.hidden_states"))
        return
    output = student(case, mode)(case.tensor("wav"), case.tensor("wav_len"))
    close(torch.stack(output.hidden_states), case.tensor(f"expert.{mode}.hidden_states"))


@pytest.mark.parametrize(("case", "mode"), with_modes(SYSTEM, "expert.{}.last_hidden_state"))
def test_last_hidden_state(case: GoldenCase, mode: str) -> None:
    output = student(case, mode)(case.tensor("wav"), case.tensor("wav_len"))
    close(output.last_hidden_state, case.tensor(f"expert.{mode}.last_hidden_state"))


# STaR's upstream has no modes, and returns its last hidden state as (T, B, D): we do not.
@pytest.mark.parametrize("case", case_params(SYSTEM, having=_has("expert.hidden_states")))
def test_hidden_states_without_modes(case: GoldenCase) -> None:
    output = student(case)(case.tensor("wav"), case.tensor("wav_len"))
    close(torch.stack(output.hidden_states), case.tensor("expert.hidden_states"))
    last_TBD = case.tensor("expert.last_hidden_state")
    close(output.last_hidden_state, last_TBD.transpose(0, 1))


# Only the repaired modes keep utterances apart.
@pytest.mark.parametrize("case", case_params(SYSTEM, having=_has("expert.fixed.hidden_states")))
def test_modes_cannot_be_confused(case: GoldenCase) -> None:
    wave, lengths = case.tensor("wav"), case.tensor("wav_len")
    outputs = [student(case, m)(wave, lengths).last_hidden_state for m in ("ref", "fixed")]
    assert (outputs[0] - outputs[1]).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("case", "name"),
    params(
        SYSTEM,
        (
            (f"{case.name}-{name}", (case, name))
            for case in find_cases(SYSTEM)
            for name in case.arrays
            if name.startswith("attn.solo.")
        ),
        arity=2,
    ),
)
def test_attention_maps(case: GoldenCase, name: str) -> None:
    maps = student(case)(_solo(case), return_attention_maps=True).attention_maps
    assert maps is not None
    found = re.fullmatch(r"attn\.solo\.layer(\d+)(_effective)?", name)
    assert found, f"what is {name}?"
    index = int(found[1])
    if not found[2]:
        assert maps[index] is not None
        close(maps[index][0], case.tensor(name))
        return
    assert maps[index] is None, "a layer that reuses a map computes none"
    source_BHTT = next(m for m in reversed(maps[:index]) if m is not None)
    weights_BHTT, total_BHT1 = SharedMap(source_BHTT, None, "fixed")._second_softmax
    close((weights_BHTT / total_BHT1)[0], case.tensor(name))


@pytest.mark.parametrize("case", case_params(SYSTEM, having=_has("encoder_layer_results.solo")))
def test_layer_outputs_before_the_heads(case: GoldenCase) -> None:
    output = student(case)(_solo(case))
    close(torch.cat(output.layer_outputs), case.tensor("encoder_layer_results.solo"))


@pytest.mark.parametrize("case", case_params(SYSTEM, having=_has("features.solo")))
def test_features_of_the_front_end(case: GoldenCase) -> None:
    close(student(case).embed(_solo(case)).x_BTD[0], case.tensor("features.solo"))


@pytest.mark.parametrize("case", case_params(SYSTEM, having=_has("student_frame_padding")))
def test_frame_padding_of_the_student(case: GoldenCase) -> None:
    padding_BT = student(case).embed(case.tensor("wav"), case.tensor("wav_len")).padding_BT
    assert torch.equal(padding_BT, case.tensor("student_frame_padding"))


@pytest.mark.parametrize("case", case_params(SYSTEM, having=_has("batch.teacher_unmasked")))
def test_teacher_padding_and_targets(case: GoldenCase) -> None:
    model = teacher(case)
    frames = model.embed(case.tensor("wav"), case.tensor("wav_len"))
    assert torch.equal(frames.padding_BT, case.tensor("teacher_frame_padding"))
    unmasked = model.encode(frames)
    close(torch.stack(unmasked.layer_outputs), case.tensor("batch.teacher_unmasked"))
    masked = model.encode(frames, case.tensor("mask_indices"))
    close(torch.stack(masked.layer_outputs), case.tensor("batch.teacher_masked"))


# A training step runs both passes as one batch over one front end.
@pytest.mark.parametrize("case", case_params(SYSTEM, having=_has("batch.teacher_masked")))
def test_teacher_passes_share_a_batch(case: GoldenCase) -> None:
    model = teacher(case)
    frames = model.embed(case.tensor("wav"), case.tensor("wav_len")).repeat(2)
    mask_BT = case.tensor("mask_indices")
    output = model.encode(frames, torch.cat([torch.zeros_like(mask_BT), mask_BT]))
    unmasked, masked = torch.stack(output.layer_outputs).chunk(2, dim=1)
    close(unmasked, case.tensor("batch.teacher_unmasked"))
    close(masked, case.tensor("batch.teacher_masked"))
