"""CPU time and memory of DPHuBERT's first-phase step next to the same step done straightforwardly.

Both distil and prune a HuBERT-Base-size student with gates on convolution channels, heads and
feed-forward units (2 × 6 s, layers 0, 4, 8, 12, Lagrangian, clipping, AdamW). The anchor is
transformers' HubertModel as teacher and as student, whose activations are multiplied by the gates
in forward hooks. Run: ``python benchmarks/pruning_step.py``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial

import common
import torch
import transformers
from place import Place
from torch import Tensor, nn

import espnet_kd
from espnet_kd.encoder import SpeechEncoder
from espnet_kd.evaluation.timing import noise
from espnet_kd.losses import LayerDistillLoss
from espnet_kd.pruning import PruningConfig, StructuredPruning

CASE = "phase 1 step, {batch} × 6 s"
BATCHES = {"cpu": (2,), "cuda": (2, 32)}
GOAL = 0.75
OURS = "espnet_kd"
LAYERS = [[0], [4, 8, 12]]


def ours() -> SpeechEncoder:
    """The anchor's weights in our encoder."""
    with tempfile.TemporaryDirectory() as folder:
        common.hubert_base().save_pretrained(folder)
        no_dropout = dict.fromkeys(
            ("dropout", "attention_dropout", "activation_dropout", "dropout_input"), 0.0
        )
        return espnet_kd.load_model(folder, hidden_states="features", **no_dropout)


def gate_by_hooks(student: transformers.HubertModel) -> Callable[[dict[str, Tensor]], None]:
    """Multiply what the units give; the returned function sets the gates of the next pass."""
    current: dict[str, Tensor] = {}

    def scale_channels(name: str) -> Callable[..., Tensor]:
        return lambda _module, _inputs, y_BCT: y_BCT * current[name][:, None]

    def scale_inputs(name: str, repeat: int) -> Callable[..., tuple[Tensor]]:
        return lambda _module, inputs: (inputs[0] * current[name].repeat_interleave(repeat),)

    for index, block in enumerate(student.feature_extractor.conv_layers):
        block.register_forward_hook(scale_channels(f"conv_{index}"))
    for index, layer in enumerate(student.encoder.layers):
        head_dim = layer.attention.head_dim
        layer.attention.out_proj.register_forward_pre_hook(scale_inputs(f"head_{index}", head_dim))
        layer.feed_forward.output_dense.register_forward_pre_hook(
            scale_inputs(f"interm_{index}", 1)
        )
    return current.update


def hubert_states(model: transformers.HubertModel, x_BS: Tensor) -> list[Tensor]:
    """Hidden states 0 to 12; 0 by a hook, since transformers lists what follows the positions."""
    features: list[Tensor] = []
    handle = model.feature_projection.register_forward_hook(
        lambda _module, _inputs, output: features.append(output)
    )
    states = model(x_BS, output_hidden_states=True).hidden_states
    handle.remove()
    return [features[0], *states[1:]]


def step_of(name: str, place: Place, size: int) -> Callable[[], float]:
    """A function that makes one update and returns the loss before it."""
    shape = ours()
    torch.manual_seed(0)
    pruning = place.put(StructuredPruning(shape, PruningConfig()))
    loss = place.put(LayerDistillLoss(LAYERS, 768, 768))
    x_BS = place.put(noise(size, 6.0))
    student: nn.Module
    if name == OURS:
        teacher_model = place.put(ours().requires_grad_(False))
        student = place.put(shape).train()

        def states(masks: dict[str, Tensor]) -> tuple[list[Tensor], list[Tensor]]:
            with torch.no_grad():
                targets = teacher_model(x_BS).hidden_states
            with pruning.applied(student, masks):
                return student(x_BS).hidden_states, targets

    else:
        teacher, student = place.put(common.hubert_base()), place.put(common.hubert_base())
        set_gates = gate_by_hooks(student)

        def states(masks: dict[str, Tensor]) -> tuple[list[Tensor], list[Tensor]]:
            with torch.no_grad():
                targets = hubert_states(teacher, x_BS)
            set_gates(masks)
            return hubert_states(student, x_BS), targets

    trained = [p for p in [*student.parameters(), *loss.parameters()] if p.requires_grad]
    optimiser = torch.optim.AdamW(
        pruning.parameter_groups(trained), lr=1e-4, weight_decay=0.0, fused=name == OURS or None
    )

    def step() -> float:
        torch.manual_seed(1)
        with place.autocast():
            found, targets = states(pruning.gates.masks())
            total = loss(found, targets)["loss"] + pruning.loss(100)["loss"]
        optimiser.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_([p for g in optimiser.param_groups for p in g["params"]], 10.0)
        optimiser.step()
        return float(total.detach())

    return step


def main() -> None:
    """Time all steps."""
    makers = {name: partial(step_of, name) for name in (common.ANCHOR, OURS)}
    common.compare_steps(__doc__, __file__, CASE, makers, GOAL, BATCHES)


if __name__ == "__main__":
    main()
