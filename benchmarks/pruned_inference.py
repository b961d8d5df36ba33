"""CPU time and memory of pruned encoders next to the unpruned one and transformers' HuBERT Base.

`pruned` has the unit counts of a 75 % pruned Base (23.66 M parameters). `params` and `macs` are
pruned here by gates that follow either target under one and the same made-up value of every unit,
to equal parameters: what the choice of target alone does to the run time. Random weights, white
noise, all hidden states. Run: ``python benchmarks/pruned_inference.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import common
import torch
from place import Place
from torch import Tensor

from espnet_kd.encoder import SpeechEncoder, SpeechEncoderConfig
from espnet_kd.encoder.architectures import architecture
from espnet_kd.pruning import PruningConfig, StructuredPruning, prune_encoder
from espnet_kd.pruning.sizes import count_macs, parameter_total, sizes_of

CHANNELS = [220, 300, 310, 320, 320, 300, 300]
HEADS = [2, 3, 4, 5, 5, 5, 5, 5, 4, 4, 3, 3]
UNITS = [420, 460, 460, 440, 420, 400, 400, 400, 400, 420, 440, 381]
MODELS = ("unpruned", "pruned", "params", "macs", "pruned bf16")
STEPS = 1200


def pruned_config() -> SpeechEncoderConfig:
    """The shape that the reference was timed with (spec dphubert.md 12)."""
    base = architecture("hubert_base").replace(hidden_states="features", channel_scale=True)
    values = base.to_dict()
    for conv, channels in zip(values["conv_layers"], CHANNELS, strict=True):
        conv[0] = channels
    for layer, heads, units in zip(values["layers"], HEADS, UNITS, strict=True):
        layer.update(num_heads=heads, ffn_dim=units)
    return SpeechEncoderConfig.from_dict(values)


def pruned_by(target: str, sparsity: float) -> SpeechEncoder:
    """A Base pruned by gates alone, every unit with a made-up value of its own."""
    torch.manual_seed(0)
    encoder = SpeechEncoder.from_config(architecture("hubert_base"))
    options = PruningConfig(
        target_sparsity=sparsity, target=target, sparsity_warmup=300, reg_lr=0.05, macs_seconds=10.0
    )
    pruning = StructuredPruning(encoder, options)
    values = {name: torch.rand_like(g.log_alpha) for name, g in pruning.gates.named_gates()}
    optimiser = torch.optim.AdamW(pruning.parameter_groups([])[1:], weight_decay=0.0)
    for step in range(STEPS):
        lost = sum(
            ((1.0 - gate.open_probability()) * values[name]).mean()
            for name, gate in pruning.gates.named_gates()
        )
        total = 0.01 * lost + pruning.loss(step)["loss"]
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
    return prune_encoder(encoder, pruning.eval().gates.masks())[0]


@cache
def pair() -> dict[str, SpeechEncoder]:
    """One model for each target, the second with the first one's number of parameters."""
    by_params = pruned_by("params", 0.75)
    wanted, low, high = parameter_total(by_params), 0.5, 0.95
    by_macs = by_params
    for _ in range(6):
        middle = (low + high) / 2
        by_macs = pruned_by("macs", middle)
        if parameter_total(by_macs) > wanted:
            low = middle
        else:
            high = middle
    return {"params": by_params, "macs": by_macs}


def encoder_of(name: str) -> SpeechEncoder:
    """One of ``MODELS``."""
    torch.manual_seed(0)
    if name in ("params", "macs"):
        return pair()[name].eval()
    config = architecture("hubert_base") if name == "unpruned" else pruned_config()
    encoder = SpeechEncoder.from_config(config).eval()
    return encoder.bfloat16() if name.endswith("bf16") else encoder


def forward_of(name: str, place: Place) -> Callable[[Tensor], object]:
    """A function from samples to all hidden states."""
    if name == common.ANCHOR:
        return common.anchor_forward(place)
    encoder = encoder_of(name)
    return place.put(encoder) if name.endswith("bf16") else place.cast(encoder)


def describe(encoder: SpeechEncoder) -> str:
    """Parameters and MACs of one model."""
    macs = float(count_macs(encoder.config, sizes_of(encoder.config), common.SECONDS))
    channels = [conv[0] for conv in encoder.config.conv_layers]
    return f"{parameter_total(encoder) / 1e6:.2f} M, {macs / 1e9:.1f} GMACs, channels {channels}"


def main() -> None:
    """Time all models for both batch sizes."""
    parser = common.forward_parser(__doc__)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    args = parser.parse_args()
    if args.memory_of:
        common.forward_once(args, forward_of)
        return
    for name in args.models:
        print(f"{name}: {describe(encoder_of(name))}")
    common.compare_forwards(
        args, __file__, forward_of, args.models, {}, without_memory=("params", "macs")
    )


if __name__ == "__main__":
    main()
