"""A head belongs to the upstream it was trained on: S3PRL's checkpoints remember its weights.

S3PRL stores the upstream's path alone. A student that was distilled anew under the same name, or
another ``-k``, would give a head features it has never seen, and a score that means nothing.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from typing import Any

from torch import nn

from espnet_kd.errors import CheckpointError
from s3prl_upstreams.cache.keys import tensor_digest

Getter = Callable[[Any], Any]


def weights_digest(model: nn.Module) -> str:
    """Digest of all parameters and buffers, whatever they are called; 32 hexadecimal digits."""
    tensors = [*model.parameters(), *model.buffers()]
    digests = sorted(tensor_digest(tensor) for tensor in tensors)
    return hashlib.sha256(b"".join(digests)).hexdigest()[:32]


def compare_weights(get_upstream: Getter) -> Getter:
    """Wrap ``Runner._get_upstream``: compare the frozen weights with those of the checkpoint.

    Raises (when called):
        CheckpointError: a training is to go on with other weights. An evaluation is only warned
            of: a student in another number format may be meant.
    """

    def get(runner: Any) -> Any:
        entry = get_upstream(runner)
        if entry.trainable:
            return entry  # its weights are in the checkpoint
        args, now = runner.args, weights_digest(entry.model)
        if getattr(args, "upstream_weights", now) != now:
            _tell(args)
        args.upstream_weights = now
        return entry

    return get


def _tell(args: Any) -> None:
    given = args.upstream_ckpt or args.upstream
    problem = f"the head in {args.init_ckpt} was trained on other weights than {given} has now"
    if args.mode == "train":
        remedy = "name the upstream of then by -k (and --upstream_dtype), or begin anew with -p"
        raise CheckpointError(f"{problem}; {remedy} another folder")
    print(f"[espnet_kd] warning: {problem}", file=sys.stderr)
