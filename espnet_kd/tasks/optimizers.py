"""The optimiser of a pruning run: weights, gates and ascending multipliers in three groups."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Iterator
from typing import Any

import torch
from espnet2.tasks.abs_task import optim_classes
from torch import nn

from espnet_kd.optim import ScheduledAdamW, decay_groups
from espnet_kd.tasks.ssl_model import SSLDistillModel


def pruning_optimizer(args: argparse.Namespace, model: SSLDistillModel) -> torch.optim.Optimizer:
    """``--optim`` with ``--optim_conf`` for the weights, ``reg_lr`` for gates and multipliers.

    The learning-rate schedule scales all groups alike, as published (spec dphubert.md 4).
    """
    assert model.pruning is not None
    optimizer_class: Any = optim_classes[args.optim]
    conf = dict(args.optim_conf)
    named = [(n, p) for n, p in model.named_parameters() if not n.startswith("pruning.")]
    groups = model.pruning.parameter_groups(p for _, p in named if p.requires_grad)
    if optimizer_class is ScheduledAdamW:
        groups[:1] = decay_groups(named, conf.pop("weight_decay", 0.01))
    fused = _can_fuse(optimizer_class, conf, args.ngpu)
    if fused:
        conf["fused"] = True
    optimizer: torch.optim.Optimizer = optimizer_class(list(_filled(groups)), **conf)
    if not fused:
        _stay_unfused(optimizer)
    return optimizer


def _can_fuse(optimizer_class: Any, conf: dict[str, Any], ngpu: int) -> bool:
    """One pass over the weights instead of ten: 5 % of a CPU step. On GPUs a fused step hides from
    its hooks that a loss scaler has skipped it, and updates are counted by a hook.
    """
    chosen = "fused" in conf or "foreach" in conf
    return optimizer_class is torch.optim.AdamW and not chosen and ngpu == 0


def _stay_unfused(optimizer: torch.optim.Optimizer) -> None:
    """A state that was saved on a CPU must not fuse the steps of a run that goes on on a GPU."""
    given = [group.get("fused") for group in optimizer.param_groups]

    def restore(loaded: torch.optim.Optimizer) -> None:
        for group, fused in zip(loaded.param_groups, given, strict=True):
            if "fused" in group:
                group["fused"] = fused

    optimizer.register_load_state_dict_post_hook(restore)


def _filled(groups: list[dict[str, Any]]) -> Iterator[dict[str, list[nn.Parameter]]]:
    return (group for group in groups if group["params"])


def pruning_optimizer_problems(args: argparse.Namespace) -> list[str]:
    """What keeps ``--optim`` from ascending on the multipliers."""
    target = optim_classes.get(args.optim)
    if target is None or "maximize" in inspect.signature(target).parameters:
        return []
    return [
        f"optim: {args.optim} cannot maximise, which kd_conf.pruning needs for its multipliers; "
        "choose adamw"
    ]
