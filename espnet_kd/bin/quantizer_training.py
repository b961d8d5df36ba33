"""What ``train_quantizer`` does: both trainings with progress, checkpoints, and what is written.

Shapes: T vectors to train on, B held-out ones, D width.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import math
import shutil
from pathlib import Path
from typing import Any

from torch import Tensor

from espnet_kd.checkpoints.quantizer import (
    load_quantizer,
    save_published_quantizer,
    save_quantizer,
)
from espnet_kd.errors import CheckpointError, ConfigError, DataDirError, KDError
from espnet_kd.evaluation.quantizer import draw_quantizer
from espnet_kd.quantizer import Quantizer, QuantizerConfig
from espnet_kd.quantizer.kmeans import KMeansOptions, fit_quantizer
from espnet_kd.quantizer.train import QuantizerTrainer, relative_errors
from espnet_kd.utils.files import atomic_folder, write_json
from espnet_kd.utils.model_directory import read_json, read_safetensors
from espnet_kd.utils.options import too_small
from espnet_kd.utils.progress import Progress

_LOG = logging.getLogger(__name__)
CHECKPOINT = "checkpoint"
PASSES = (0, 1, 2, 5)
"""Refinement passes of the held-out errors on the way."""
_SAME = ("bytes_per_frame", "phase_one_iters", "phase_two_iters", "lr", "batch_size", "seed")
_LEAST = {
    "held_out": 2,
    "max_frames": 0,
    "seed": 0,
    "batch_size": 1,
    "valid_interval": 1,
    "alternations": 0,
    "logit_steps": 0,
}
"""Options and the smallest value of each."""
_ROUNDING = 1e-10
"""Variance by the squared length of a vector: what float32 leaves of equal ones is less."""
_STAMPED = 1000
"""Vectors that tell those of a checkpoint from others."""
Curve = list[dict[str, Any]]


def check_options(args: argparse.Namespace) -> None:
    """Refuse numbers that would end the training late, or be taken for others.

    Raises:
        ConfigError: lists them.
    """
    problems = too_small(args, _LEAST)
    if problems:
        raise ConfigError("training of the quantiser", problems)


def split_held_out(vectors_TD: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Held-out vectors (5 %, at most so many, at least one) and the rest.

    Raises:
        DataDirError: fewer than two vectors, or all of them are the same or too large.
    """
    count = max(1, min(int(0.05 * len(vectors_TD)), most))
    if len(vectors_TD) < 2:
        raise DataDirError(
            "one vector is nothing to learn from; give the frames of many utterances"
        )
    spread = float(vectors_TD.var(dim=0, unbiased=False).sum())
    size = float(vectors_TD[0].square().sum())
    if not _ROUNDING * size < spread < math.inf:
        raise DataDirError(
            f"the vectors do not differ, or are too large (variance {spread:g}); check the teacher"
        )
    return vectors_TD[:count], vectors_TD[count:]


def train_kmeans(
    train_TD: Tensor, held_BD: Tensor, args: argparse.Namespace
) -> tuple[Quantizer, Curve]:
    """Residual k-means and least squares."""
    config = QuantizerConfig(train_TD.shape[1], args.bytes_per_frame)
    options = KMeansOptions(
        alternations=args.alternations, logit_steps=args.logit_steps, seed=args.seed
    )
    with Progress("train the quantiser", 100.0, "%") as progress:
        quantizer = fit_quantizer(
            train_TD, config, options, lambda share, what: progress.reach(100 * share, what)
        ).eval()
    return quantizer, [_measured(quantizer, held_BD, options.logit_steps)]


def train_published(
    train_TD: Tensor, held_BD: Tensor, args: argparse.Namespace
) -> tuple[Quantizer, Curve]:
    """The published schedule: batches in the vectors' order, over and over.

    Raises:
        ConfigError: fewer vectors than a batch.
        CheckpointError: the checkpoint there is of other options or damaged.
    """
    if len(train_TD) < args.batch_size:
        raise ConfigError(
            "training of the quantiser",
            [f"{len(train_TD)} vectors do not fill a batch of {args.batch_size}; give more"],
        )
    trainer = QuantizerTrainer(
        train_TD.shape[1],
        args.bytes_per_frame,
        phase_one_iters=args.phase_one_iters,
        phase_two_iters=args.phase_two_iters,
        lr=args.lr,
        seed=args.seed,
        device=train_TD.device,
    )
    folder = args.out / CHECKPOINT
    same = {name: getattr(args, name) for name in _SAME} | {"vectors": list(train_TD.shape)}
    same["vectors.stamp"] = _stamp(train_TD)
    curve = _resume(trainer, folder, same)
    offsets = len(train_TD) + 1 - args.batch_size
    with Progress("train the quantiser", trainer.total, "updates") as progress:
        progress.reach(trainer.updates)
        while not trainer.done:
            start = (trainer.updates * args.batch_size) % offsets
            losses = trainer.step(train_TD[start : start + args.batch_size])
            if trainer.updates % args.valid_interval == 0 or trainer.done:
                curve.append(_measured(trainer.quantizer.eval(), held_BD, trainer.updates))
                trainer.quantizer.train()
                _save(trainer, folder, same, curve)
            note = f"reconstruction {float(losses['reconstruction']):.3f}"
            progress.reach(trainer.updates, note)
    return trainer.quantizer.eval(), curve


def write_results(quantizer: Quantizer, curve: Curve, out: Path, trained: int, held: int) -> str:
    """Write the quantiser in both layouts, report and picture; returns the report as text."""
    save_quantizer(quantizer, out)
    save_published_quantizer(quantizer, out / "quantizer.pt")
    load_quantizer(out)
    correlations = quantizer.correlations().tolist()
    per_hour = quantizer.config.bytes_per_hour()
    report = {
        "id": quantizer.id,
        "vectors": trained,
        "held_out_vectors": held,
        "held_out_relative_error": curve[-1]["errors"],
        "bytes_per_hour_at_50_hz": per_hour,
        "curve": curve,
        "correlations": correlations,
    }
    write_json(out / "training.json", report)
    draw_quantizer(curve, correlations, out / "training.png")
    shutil.rmtree(out / CHECKPOINT, ignore_errors=True)
    errors = ", ".join(f"{passes}: {error:.4f}" for passes, error in curve[-1]["errors"].items())
    return (
        f"{out}: {quantizer.config.num_codebooks} codebooks of "
        f"{quantizer.config.codebook_size} for width {quantizer.config.dim}, "
        f"{per_hour / 1e6:.2f} MB per hour at 50 Hz\n"
        f"held-out relative error by refinement passes: {errors}"
    )


def _stamp(train_TD: Tensor) -> str:
    """Of some vectors: another layer or teacher gives as many of the same width."""
    sample = train_TD[:: max(1, len(train_TD) // _STAMPED)].contiguous().cpu()
    return hashlib.sha256(sample.numpy().tobytes()).hexdigest()[:16]


def _measured(quantizer: Quantizer, held_BD: Tensor, updates: int) -> dict[str, Any]:
    """The held-out errors.

    Raises:
        KDError: they are not finite; nothing has been written of such a quantiser.
    """
    errors = relative_errors(quantizer, held_BD, PASSES)
    if not all(math.isfinite(error) for error in errors.values()):
        raise KDError(
            f"training of the quantiser diverged at update {updates}: held-out error "
            f"{errors[PASSES[0]]}; begin anew with a lower --lr"
        )
    said = ", ".join(f"{passes}: {error:.3f}" for passes, error in errors.items())
    _LOG.info(f"update {updates}, held-out relative error by refinement passes: {said}")
    return {"updates": updates, "errors": {str(k): value for k, value in errors.items()}}


def _save(trainer: QuantizerTrainer, folder: Path, same: dict[str, Any], curve: Curve) -> None:
    from safetensors.torch import save_file

    state = trainer.state_dict()
    tensors = {k: v.detach().cpu().contiguous() for k, v in state.pop("tensors").items()}
    with atomic_folder(folder, replaces=("state.*",)) as new:
        save_file(tensors, new / "state.safetensors")
        document = {"options": same, "curve": curve, **state}
        (new / "state.json").write_text(json.dumps(document), encoding="utf-8")


def _resume(trainer: QuantizerTrainer, folder: Path, same: dict[str, Any]) -> Curve:
    """Go on from the checkpoint if there is one; returns the held-out errors so far."""
    if not folder.exists():
        return []
    document = read_json(folder / "state.json")
    if document.get("options") != same:
        raise CheckpointError(
            f"{folder} is the checkpoint of a training with other options or vectors; remove it "
            "to begin anew, or give the options of before"
        )
    state = {**document, "tensors": read_safetensors(folder / "state.safetensors")}
    try:
        trainer.load_state_dict(state)
    except (KeyError, ValueError, RuntimeError, TypeError) as error:
        raise CheckpointError(
            f"{folder} is damaged ({str(error).splitlines()[0]}); remove it to begin anew"
        ) from None
    _LOG.info(f"going on after update {trainer.updates}")
    curve: Curve = document["curve"]
    return curve
