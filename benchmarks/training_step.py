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
from torch import Tensor

import espnet_kd
from espnet_kd.encoder import EncoderOutput, SpeechEncoder
from espnet_kd.encoder.architectures import architecture
from espnet_kd.evaluation.timing import noise
from espnet_kd.losses import MaskingDistillLoss
from espnet_kd.optim import ScheduledAdamW
from espnet_kd.tasks.teacher import EncoderTeacher, Wish

CASE = "step, 2 × 6 s"
GOAL = 0.7
OURS = "espnet_kd"
OUR_STUDENT = "transformers' teacher twice, our student"
ANCHOR = "transformers' teacher twice, plain student"
LENGTHS = (96_000, 88_000)

Targets = tuple[list[Tensor], list[Tensor]]


def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Samples (B, S), lengths (B,) and a mask of two thirds of the frames (B, T)."""
    x_BS = noise(2, 6.0)
    x_BS[1, LENGTHS[1] :] = 0.0
    generator = torch.Generator().manual_seed(0)
    mask_BT = torch.rand(2, 299, generator=generator) < 0.67
    mask_BT[1, 274:] = False
    return x_BS, torch.tensor(LENGTHS), mask_BT


def anchor_targets() -> Callable[[Tensor, Tensor, Tensor], Targets]:
    """Both views of the teacher by two calls of transformers' model."""
    teacher = common.hubert_base()

    def targets(x_BS: Tensor, lengths_B: Tensor, mask_BT: Tensor) -> Targets:
        attention_BS = torch.arange(x_BS.shape[1]) < lengths_B[:, None]
        with torch.no_grad():
            whole = teacher(x_BS, attention_BS.long(), output_hidden_states=True)
            part = teacher(
                x_BS,
                attention_BS.long(),
                mask_time_indices=mask_BT,
                output_hidden_states=True,
            )
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


def step_of(name: str) -> Callable[[], float]:
    """A function that makes one update and returns the loss before it."""
    targets = our_targets() if name == OURS else anchor_targets()
    torch.manual_seed(0)
    student = SpeechEncoder.from_config(architecture("armhubert")).train()
    optimiser = ScheduledAdamW(student.parameters(), lr=1e-4)
    criterion = MaskingDistillLoss()
    x_BS, lengths_B, mask_BT = batch()

    def forward() -> EncoderOutput:
        if name != ANCHOR:
            return student(x_BS, lengths_B, mask_BT)
        with plain.straightforward():
            return student(x_BS, lengths_B, mask_BT)

    def step() -> float:
        whole, part = targets(x_BS, lengths_B, mask_BT)
        torch.manual_seed(1)  # after the teachers: transformers' draws numbers even in eval mode
        output = forward()
        assert output.projections is not None
        losses = criterion(
            output.projections,
            whole,
            part,
            mask_BT,
            padding_BT=output.padding_BT,
            hint_layers=range(11),
        )
        optimiser.zero_grad()
        losses["loss"].backward()
        optimiser.step()
        return float(losses["loss"].detach())

    return step


def main() -> None:
    """Time all steps."""
    makers = {name: partial(step_of, name) for name in (ANCHOR, OUR_STUDENT, OURS)}
    common.compare_steps(__doc__, __file__, CASE, makers, GOAL)


if __name__ == "__main__":
    main()
