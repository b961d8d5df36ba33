"""Make the length tables that S3PRL's ASR task batches by (its own tool asks questions).

    python -m s3prl_upstreams.make_bucket_files LIBRI_ROOT --splits dev-clean test-clean --out DIR

writes ``DIR/SPLIT.csv``: index, file_path (relative to LIBRI_ROOT), length (samples), label
(transcript), longest first.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from espnet_kd.data.audio import inspect_audio
from espnet_kd.errors import DataDirError, KDError
from espnet_kd.utils.files import write_text
from s3prl_upstreams.corpus.splits import Utterance, read_split

COLUMNS = ("", "file_path", "length", "label")
"""Head of the table; the index column has no name."""


def make_bucket_file(root: str | Path, split: str, out: str | Path, threads: int = 4) -> Path:
    """Write the table of one split (atomically) and return its path.

    Args:
        root: folder that holds the splits.
        split: such as ``train-clean-100``.
        out: folder for ``SPLIT.csv``.
        threads: headers read at once.

    Raises:
        DataDirError: the split is missing or inconsistent.
        AudioError: a recording cannot be used, or is not 16 kHz mono.
    """
    utterances = read_split(root, split)
    with ThreadPoolExecutor(threads) as pool:
        lengths = pool.map(_samples, utterances)
        counted = list(tqdm(lengths, total=len(utterances), desc=f"lengths of {split}"))
    rows = sorted(zip(counted, utterances, strict=True), key=lambda row: (-row[0], row[1].name))
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for number, (length, utterance) in enumerate(rows):
        name = utterance.path.relative_to(root).as_posix()
        table.writerow((number, name, length, utterance.text))
    path = Path(out) / f"{split}.csv"
    write_text(path, text.getvalue())
    return path


def make_bucket_files(root: str | Path, splits: Sequence[str], out: str | Path) -> list[Path]:
    """Write the tables of several splits; all missing ones are named at once.

    Raises:
        DataDirError: see :func:`make_bucket_file`.
    """
    splits = [split.rstrip("/") for split in splits]  # as a shell completes them
    missing = [split for split in splits if not (Path(root) / split).is_dir()]
    if missing:
        raise DataDirError(f"{root} does not hold {', '.join(missing)}")
    return [make_bucket_file(root, split, out) for split in splits]


def _samples(utterance: Utterance) -> int:
    return inspect_audio(utterance.path, utterance.name).samples


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0 = done, 1 = a problem that is on stderr."""
    parser = argparse.ArgumentParser(prog="python -m s3prl_upstreams.make_bucket_files")
    parser.add_argument("root", help="folder that holds the splits (LibriSpeech)")
    parser.add_argument("--splits", nargs="+", required=True, help="such as train-clean-100")
    parser.add_argument("--out", required=True, help="folder for the tables (bucket_file)")
    options = parser.parse_args(argv)
    try:
        for path in make_bucket_files(options.root, options.splits, options.out):
            print(path)
    except KDError as error:
        print(f"make_bucket_files: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
