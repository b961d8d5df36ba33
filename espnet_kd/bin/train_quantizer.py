"""Train the quantiser that turns a teacher's vectors into codes.

``python -m espnet_kd.bin.train_quantizer --embeddings train.ark --out quantizer``

Vectors come from .npy, .safetensors, or Kaldi .ark and .scp files. The folder receives
``config.json`` and ``model.safetensors``, ``quantizer.pt`` in the published layout,
``training.json`` (held-out relative error by refinement passes) and ``training.png``. The published
schedule goes on where it stopped when the same command is started again; k-means takes minutes and
begins anew.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_kd.bin.run import run_command


def get_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(
        prog="espnet_kd.bin.train_quantizer",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--embeddings", nargs="+", type=Path, required=True, help="files, or folders of files")
    add("--out", type=Path, required=True, help="folder to write")
    add("--bytes_per_frame", type=int, default=8, help="codebooks of 256 centres")
    add(
        "--method",
        choices=("kmeans", "published"),
        default="kmeans",
        help="kmeans: residual k-means and least squares, minutes; published: Adam in two phases",
    )
    add(
        "--held_out",
        type=int,
        default=10_000,
        help="vectors that are not trained on, at most 5 %% of all",
    )
    add("--max_frames", type=int, default=0, help="draw so many vectors; 0 = all")
    add("--seed", type=int, default=0)
    add("--device", default="cpu", help="e.g. cuda")
    add("--phase_one_iters", type=int, default=10_000, help="published: updates of phase one")
    add("--phase_two_iters", type=int, default=10_000, help="published: updates of phase two")
    add("--lr", type=float, default=0.005, help="published: learning rate")
    add("--batch_size", type=int, default=512, help="published: vectors of an update")
    add(
        "--valid_interval", type=int, default=200, help="published: updates between held-out errors"
    )
    add("--alternations", type=int, default=2, help="kmeans: see KMeansOptions")
    add("--logit_steps", type=int, default=200, help="kmeans: updates of the logit layer")
    return parser  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Train and write; returns the exit code."""
    args = get_parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    published = args.method == "published"
    saved = "The last checkpoint's updates"
    return run_command(lambda: train_quantizer(args), resumable=published, saved=saved)


def train_quantizer(args: argparse.Namespace) -> None:
    """Train as the options say.

    Raises:
        DataDirError: vectors that cannot be used.
        ConfigError: sizes or lengths that cannot be.
        CheckpointError: ``--out`` holds the checkpoint of another training, or another model.
        KDError: ``--out`` cannot be written, the device is not there, or training diverges.
    """
    import torch

    from espnet_kd.bin.quantizer_training import (
        check_options,
        split_held_out,
        train_kmeans,
        train_published,
        write_results,
    )
    from espnet_kd.checkpoints.quantizer import MODEL_TYPE
    from espnet_kd.data.embeddings import read_embeddings
    from espnet_kd.utils.devices import check_device
    from espnet_kd.utils.files import probe_folder
    from espnet_kd.utils.model_directory import refuse_foreign_model

    check_options(args)
    check_device(args.device)
    refuse_foreign_model(args.out, MODEL_TYPE)
    probe_folder(args.out)
    torch.manual_seed(args.seed)
    vectors_TD = torch.from_numpy(read_embeddings(args.embeddings, args.max_frames, args.seed))
    held_BD, train_TD = split_held_out(vectors_TD.to(args.device), args.held_out)
    train = train_published if args.method == "published" else train_kmeans
    quantizer, curve = train(train_TD, held_BD, args)
    report = write_results(quantizer, curve, args.out, len(train_TD), len(held_BD))
    print(report)


if __name__ == "__main__":
    sys.exit(main())
