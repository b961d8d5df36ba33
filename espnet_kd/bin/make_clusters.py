"""Label the frames of Kaldi data folders with k-means clusters of their MFCCs.

``python -m espnet_kd.bin.make_clusters data/train data/valid --num_classes 100``

The clusters are fitted on the first folder. Every folder receives the file ``codes``, which
training reads with ``--train_data_path_and_name_and_type data/train/codes,codes,text_int``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_kd.data.clusters import ClusterOptions, make_codes
from espnet_kd.data.kaldi_dir import read_kaldi_dir
from espnet_kd.data.options import boolean
from espnet_kd.errors import KDError


def get_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    default = ClusterOptions()
    parser = argparse.ArgumentParser(
        prog="espnet_kd.bin.make_clusters",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="Kaldi data folders")
    parser.add_argument("--num_classes", type=int, default=default.num_classes)
    parser.add_argument("--normalize", type=boolean, default=default.normalize)
    parser.add_argument("--max_frames", type=int, default=default.max_frames)
    parser.add_argument("--seed", type=int, default=default.seed)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Label and print how many frames there are."""
    args = get_parser().parse_args(argv)
    options = ClusterOptions(
        num_classes=args.num_classes,
        normalize=args.normalize,
        max_frames=args.max_frames,
        seed=args.seed,
    )
    try:
        frames = make_codes({folder: read_kaldi_dir(folder) for folder in args.folders}, options)
    except KDError as error:
        sys.exit(f"espnet_kd.bin.make_clusters: {error}")
    for folder, count in frames.items():
        print(f"{folder / 'codes'}: {count} frames, {options.num_classes} classes")


if __name__ == "__main__":
    main()
