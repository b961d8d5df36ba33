"""Means over time: all that a linear head with mean pooling sees of an utterance.

Weighted sum of the layers, projector and mean are linear, so the mean may come first. The head
gets sequences of one frame, and S3PRL's code of the task stays as it is; so do its checkpoints.

Shape suffixes: N layers, B batch, T frames, D width, V two variants.
"""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import torch
from torch import Tensor

from s3prl_upstreams.cache.isolated import IsolatedUpstream
from s3prl_upstreams.cache.shards import Entry

TASKS = ("voxceleb1", "speech_commands", "fluent_commands", "emotion")
"""S3PRL's folders whose head is: linear projector, utterance-level model."""


class PooledUpstream(IsolatedUpstream):
    """An upstream that keeps means over time, and gives them as sequences of one frame."""

    mode = "pooled"

    def keep(self, states_NTD: Tensor, alone: int, single: bool) -> Entry:
        """Make the entry: mean as the longest of a batch and, where it differs, as another."""
        means = [states_NTD[:, :alone].mean(dim=1)]
        if alone < states_NTD.size(1):
            means.append(states_NTD.mean(dim=1))
        return Entry(torch.stack(means, dim=1), 1, single)

    def assemble(
        self, entries: list[Entry], lengths: list[int], device: torch.device
    ) -> tuple[Tensor, bool]:
        """Put a batch (N, B, 1, D) together."""
        longest = max(lengths)
        rows = [
            entry.tensor[:, 0 if samples == longest else -1]
            for entry, samples in zip(entries, lengths, strict=True)
        ]
        means_NBD = torch.stack(rows, dim=1).float()
        return means_NBD[:, :, None].to(device), entries[0].single


def take_single_frames(featurizer: Any) -> None:
    """Let S3PRL's featurizer hand on one frame per wave: it would look for ``len(wav) / 320``."""
    model = getattr(featurizer, "module", featurizer)
    model.tolist = lambda wavs, feature_BTD: list(feature_BTD)


def pooling_problems(args: Namespace, config: dict[str, Any]) -> list[str]:
    """All that keeps a run's head from being linear up to its mean over time."""
    model = config.get("downstream_expert", {}).get("modelrc", {})
    head = model.get(model.get("select"), {}) or {}
    pooling = head.get("pooling", "MeanPooling")
    checks = {
        f"-d {args.downstream}: only SID, KS, IC and ER have such a head ({', '.join(TASKS)})": (
            args.downstream in TASKS
        ),
        f"modelrc.select is {model.get('select')}, not UtteranceLevel": (
            model.get("select") == "UtteranceLevel"
        ),
        f"its pooling is {pooling}, not MeanPooling": pooling == "MeanPooling",
        "it has a pre_net before the mean": not isinstance(head.get("pre_net"), dict),
        "specaug masks single frames": not config.get("specaug"),
        "--upstream_feature_normalize is not linear": not args.upstream_feature_normalize,
    }
    if args.downstream not in TASKS:
        return [next(iter(checks))]
    return [problem for problem, fine in checks.items() if not fine]
