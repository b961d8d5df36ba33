"""Options of structured pruning; names follow the original command line where it has one."""

from __future__ import annotations

from dataclasses import dataclass, field

from espnet_kd.utils.options import too_small

UNITS = ("conv", "head", "interm", "attlayer", "ffnlayer")
"""What can be gated: convolution channels, attention heads, feed-forward units, whole blocks."""

TARGETS = ("params", "macs")


@dataclass(kw_only=True)
class PruningConfig:
    """What is pruned, how far and how fast."""

    target_sparsity: float = 0.75
    """Share of parameters (or MACs) to remove (published 0.75)."""

    target: str = "params"
    """What the share is taken of: `params` (published) or `macs`, which follows run time closer."""

    pruning_units: list[str] = field(default_factory=lambda: ["conv", "head", "interm"])
    """Gated units (published run: conv, head, interm; also attlayer and ffnlayer: whole blocks)."""

    sparsity_warmup: int = 5000
    """Updates over which the target rises from 0 to target_sparsity (published 5000)."""

    reg_lr: float = 0.02
    """Peak learning rate of gates and multipliers (published 0.02)."""

    macs_seconds: float = 16.0
    """Duration for which MACs are counted; attention grows with its square."""

    exact_statistics: bool = False
    """Keep the feature LayerNorm's statistics when channels of the last convolution are removed,
    so that pruning itself changes no output (published: no)."""

    fit_target: bool = False
    """When the encoder is cut, let the least decided units change sides until it has the size asked
    for (published: no, every gate vector is rounded on its own)."""

    log_every: int = 100
    """Updates between two lines of pruning.jsonl (expected sparsity, multipliers, unit counts)."""

    def validate(self) -> list[str]:
        """All problems, as sentences that start with the option's name; empty if there is none."""
        problems = []
        if not 0.0 < self.target_sparsity < 1.0:
            problems.append(
                f"target_sparsity is {self.target_sparsity}; it must lie between 0 and 1"
            )
        if self.target not in TARGETS:
            problems.append(f"target is {self.target!r}; choose {' or '.join(TARGETS)}")
        unknown = [unit for unit in self.pruning_units if unit not in UNITS]
        if (
            unknown
            or not self.pruning_units
            or len(set(self.pruning_units)) < len(self.pruning_units)
        ):
            problems.append(
                f"pruning_units are {self.pruning_units}; choose some of {', '.join(UNITS)}, each "
                "once"
            )
        problems += too_small(self, {"sparsity_warmup": 0, "log_every": 1})
        problems += [
            f"{name} is {getattr(self, name)}; it must be positive"
            for name in ("reg_lr", "macs_seconds")
            if not getattr(self, name) > 0
        ]
        return problems
