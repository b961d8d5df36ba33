"""CPU time and memory of one distillation step next to the same step done straightforwardly.

All train the same ARMHuBERT-960h student on the same batch (2 × 6 s, the second utterance 5.5 s)
from a HuBERT-Base-size teacher with and without mask, with the same loss and optimiser, so that
their losses agree (printed). The anchor calls transformers' HubertModel twice and runs the student
as torch's own layers do (``plain.py``); a second one has our student, which tells how much the
teacher's shared passes give alone. Run: ``python benchmarks/training_step.py``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial

import common
import plain
import torch
from place import Place
from torch import Tensor

import espnet_kd
from espnet_kd.encoder import EncoderOutput, SpeechEncoder
from espnet_kd.encoder.architectures import architecture
from espnet_kd.evaluation.timing import noise
from espnet_kd.losses import MaskingDistillLoss
from espnet_kd.optim import ScheduledAdamW
from espnet_kd.tasks.teacher import EncoderTeacher, Wish

CASE = "step, {batch} × 6 s"
BATCHES = {"cpu": (2,), "cuda": (2, 32)}
GOAL = 0.7
OURS = "espnet_kd"
OUR_STUDENT = "transformers' teacher twice, our student"
ANCHOR = "transformers' teacher twice, plain student"
LENGTHS = (96_000, 88_000)
"""Samples of every other utterance."""

Targets = tuple[list[Tensor], list[Tensor]]


def batch(size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Samples (B, S), lengths (B,) and a mask of two thirds of the frames (B, T)."""
    x_BS = noise(size, 6.0)
    x_BS[1::2, LENGTHS[1] :] = 0.0
    generator = torch.Generator().manual_seed(0)
    mask_BT = torch.rand(size, 299, generator=generator) < 0.67
    mask_BT[1::2, 274:] = False
    return x_BS, torch.tensor(LENGTHS).repeat(size)[:size], mask_BT


def anchor_targets(place: Place) -> Callable[[Tensor, Tensor, Tensor], Targets]:
    """Both views of the teacher by two calls of transformers' model."""
    teacher = place.put(common.hubert_base())

    def targets(x_BS: Tensor, lengths_B: Tensor, mask_BT: Tensor) -> Targets:
        places_S = torch.arange(x_BS.shape[1], device=x_BS.device)
        attention_BS = (places_S < lengths_B[:, None]).long()
        with torch.no_grad():
            whole = teacher(x_BS, attention_BS, output_hidden_states=True)
            part = teacher(x_BS, attention_BS, mask_time_indices=mask_BT, output_hidden_states=True)
        return list(whole.hidden_states[1:]), list(part.hidden_states[1:])

    return targets


def our_targets() -> Callable[[Tensor, Tensor, Tensor], Targets]:
    """Both views by the trainer's teacher."""
    with tempfile.TemporaryDirectory() as folder:
        common.hubert_base().save_pretrained(folder)
        teacher = EncoderTeacher("hubert_base", espnet_kd.load_model(folder))

    def targets(x_BS: Tensor, lengths_B: Tensor, mask_BT: Tensor) -> Targets:
        observation = teacher.observe(x_BS, lengths_B)
        whole, part = observation.views(Wish(whole=True, masked=True), mask_BT)
        assert whole is not None
        assert part is not None
        return whole.layers, part.layers

    return targets


def step_of(name: str, place: Place, size: int) -> Callable[[], float]:
    """A function that makes one update and returns the loss before it."""
    targets = our_targets() if name == OURS else anchor_targets(place)
    torch.manual_seed(0)
    student = place.put(SpeechEncoder.from_config(architecture("armhubert"))).eval()
    optimiser = ScheduledAdamW(student.parameters(), lr=1e-4)
    criterion = MaskingDistillLoss()
    x_BS, lengths_B, mask_BT = (place.put(tensor) for tensor in batch(size))

    def forward() -> EncoderOutput:
        if name != ANCHOR:
            return student(x_BS, lengths_B, mask_BT)
        with plain.straightforward():
            return student(x_BS, lengths_B, mask_BT)

    def loss_of_batch() -> Tensor:
        whole, part = targets(x_BS, lengths_B, mask_BT)
        torch.manual_seed(1)  # after the teachers: transformers' draws numbers even in eval mode
        output = forward()
        assert output.projections is not None
        return criterion(
            output.projections,
            whole,
            part,
            mask_BT,
            padding_BT=output.padding_BT,
            hint_layers=range(11),
        )["loss"]

    def step() -> float:
        with place.autocast():
            loss = loss_of_batch()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        student.train()  # the first step, whose loss is compared, does without dropout
        return float(loss.detach())

    return step


def main() -> None:
    """Time all steps."""
    makers = {name: partial(step_of, name) for name in (ANCHOR, OUR_STUDENT, OURS)}
    common.compare_steps(__doc__, __file__, CASE, makers, GOAL, BATCHES)


if __name__ == "__main__":
    main()
