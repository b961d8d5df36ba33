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
    optimizer: torch.optim.Optimizer = optimizer_class(list(_filled(groups)), **conf)
    return optimizer


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
