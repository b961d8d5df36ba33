"""A training step against the published numbers: projections, loss terms, gradients, updates."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from golden_cases import GoldenCase, case_params
from golden_models import close, student, with_modes

from espnet_kd.checkpoints.fairseq import name_table
from espnet_kd.encoder import SpeechEncoder
from espnet_kd.losses import MaskingDistillLoss
from espnet_kd.optim import ScheduledAdamW, decay_groups

pytestmark = pytest.mark.golden

SYSTEM = "armhubert"
OPTIMISER_STEPS = 40  # of the whole schedule: README of the golden folder
TERMS = {
    "mask_hint_loss": "mask_hint_loss",
    "unmask_hint_loss": "unmask_hint_loss",
    "mask_rec_loss": "mask_rec_loss",
    "unmask_rec_loss": "unmask_rec_loss",
    "hint_loss": "hint_loss",
    "rec_loss": "rec_loss",
    "total": "loss",
}
STEPS = [
    pytest.param(block, *parameter.values, id=f"{parameter.id}-{block}", marks=parameter.marks)
    for block in ("batch", "solo")
    for parameter in with_modes(SYSTEM, block + ".{}.total")
]


class Step:
    """What a training step on the batch, or on its longest utterance alone, works with."""

    def __init__(self, case: GoldenCase, block: str) -> None:
        solo = int(case.array("solo_index"))
        rows = slice(solo, solo + 1) if block == "solo" else slice(None)
        self.hint_layers = case.config["rand_l"]
        self.wave_BS = case.tensor("wav")[rows]
        # Alone, the longest utterance has no padding.
        self.lengths_B = case.tensor("wav_len")[rows]
        self.mask_BT = case.tensor("mask_indices")[rows]
        self.unmasked = case.tensor("batch.teacher_unmasked")[:, rows]
        self.masked = case.tensor("batch.teacher_masked")[:, rows]
        train = case.config["yaml"]["train"]
        self.loss = MaskingDistillLoss(
            rec_loss_weight=train["rec_loss_weight"],
            random_layer_weight=train["random_layer_weight"],
            rec_loss_type=train["rec_loss_type"],
            padded_frames="count",
        )

    def run(self, model: SpeechEncoder) -> tuple[dict[str, torch.Tensor], list[torch.Tensor]]:
        """The loss and its parts, and the student's projections, for the masked input."""
        output = model(self.wave_BS, self.lengths_B, self.mask_BT)
        assert output.projections is not None
        result = self.loss(
            output.projections,
            self.unmasked,
            self.masked,
            self.mask_BT,
            padding_BT=output.padding_BT,
            hint_layers=self.hint_layers,
        )
        return result, output.projections


def _published_gradients(model: SpeechEncoder) -> dict[str, torch.Tensor]:
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return name_table(model.config.extractor_norm).to_foreign(gradients)


@pytest.mark.parametrize(("block", "case", "mode"), STEPS)
def test_losses_and_gradients(block: str, case: GoldenCase, mode: str) -> None:
    model, prefix = student(case, mode), f"{block}.{mode}."
    result, projections = Step(case, block).run(model)
    if prefix + "student_projections" in case.arrays:
        close(torch.stack(projections), case.tensor(prefix + "student_projections"))
    for golden, ours in TERMS.items():
        close(result[ours], case.tensor(prefix + golden))
    result["loss"].backward()
    gradients = _published_gradients(model)
    everything = torch.cat([g.flatten() for g in gradients.values()]).norm()
    for name in (n for n in case.arrays if n.startswith(prefix + "gradnorm.")):
        key = name.removeprefix(prefix + "gradnorm.")
        norm = everything if key == "__all__" else gradients[key].norm()
        assert float(norm) == pytest.approx(float(case.array(name)), rel=1e-3, abs=1e-6), key
    for name in (n for n in case.arrays if n.startswith(prefix + "grad.")):
        close(gradients[name.removeprefix(prefix + "grad.")], case.tensor(name))


@pytest.mark.parametrize(("block", "case", "mode"), STEPS)
def test_validation_loss(block: str, case: GoldenCase, mode: str) -> None:
    step = Step(case, block)
    with torch.no_grad():
        output = student(case, mode)(step.wave_BS, step.lengths_B)
    result = step.loss.validation(
        output.projections,
        step.unmasked,
        padding_BT=output.padding_BT,
        hint_layers=step.hint_layers,
    )
    close(result["loss"], case.tensor(f"{block}.{mode}.valid_loss"))


def _optimizer(model: SpeechEncoder, options: dict[str, Any]) -> ScheduledAdamW:
    # The published code ignores the yaml's weight decay; 0.01 is the default of the groups.
    return ScheduledAdamW(
        decay_groups(model.named_parameters()),
        lr=options["lr"],
        betas=tuple(options["betas"]),
        eps=options["eps"],
        total_steps=OPTIMISER_STEPS,
        warmup_proportion=options["warmup_proportion"],
    )


@pytest.mark.parametrize(
    "case", case_params(SYSTEM, having=lambda case: "opt.solo.losses" in case.arrays)
)
def test_optimiser_steps(case: GoldenCase) -> None:
    model, step = student(case, "ref"), Step(case, "solo")
    optimizer = _optimizer(model, case.config["yaml"]["optimizer"])
    losses = []
    for _ in range(len(case.array("opt.solo.losses"))):
        optimizer.zero_grad()
        loss = step.run(model)[0]["loss"]
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    close(torch.stack(losses), case.tensor("opt.solo.losses"))
    weights = name_table(model.config.extractor_norm).to_foreign(model.state_dict())
    stored = [name for name in case.arrays if name.startswith("opt.solo.param.")]
    assert stored
    for name in stored:
        close(weights[name.removeprefix("opt.solo.param.")], case.tensor(name))
