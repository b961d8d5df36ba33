"""The code streams of an ESPnet command line, checked before the first batch."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from espnet_kd.data.codes import check_codes
from espnet_kd.data.tables import read_table
from espnet_kd.errors import DataDirError
from espnet_kd.tasks.batching import read_samples

CODES = "codes"
"""Name of the data stream."""
_CHECKED = ("kaldi_ark", "npy")


def check_code_streams(args: argparse.Namespace, num_codebooks: int, codebook_size: int) -> None:
    """Check that codes are there for all utterances, of their lengths and of this quantiser.

    Args:
        args: streams and shape files of an ESPnet command line.
        num_codebooks: codes of a teacher frame.
        codebook_size: centres of a codebook.

    Raises:
        DataDirError: lists all kinds of problems with counts and the first utterances.
    """
    problems = []
    for part in ("train", "valid"):
        streams = getattr(args, f"{part}_data_path_and_name_and_type")
        shapes = getattr(args, f"{part}_shape_file")
        sound = any(name == "speech" and kind == "sound" for _, name, kind in streams)
        samples = _samples(shapes) if sound else None
        for path, name, kind in streams:
            if name != CODES or kind not in _CHECKED:
                continue
            try:
                check_codes(
                    path, samples=samples, num_codebooks=num_codebooks, codebook_size=codebook_size
                )
            except DataDirError as error:
                problems.append(str(error))
    if problems:
        raise DataDirError("\n".join(problems))


def stream_problems(args: argparse.Namespace, objective: str) -> list[str]:
    """Lists without the codes that ``objective`` needs; validation comes after hours."""
    if args.collect_stats or not args.train_data_path_and_name_and_type:
        return []
    return [
        f"{objective} needs the data stream `codes`: give --{part}_data_path_and_name_and_type "
        "PATH,codes,kaldi_ark of bin.extract_codebook_indexes, or PATH,codes,text_int of "
        "bin.make_clusters"
        for part in ("train", "valid")
        if CODES
        not in (name for _, name, _ in getattr(args, f"{part}_data_path_and_name_and_type"))
    ]


def check_text_codes(args: argparse.Namespace, num_codebooks: int, codebook_size: int) -> None:
    """Check that codes in text files (``utt 3 17 17``) can be predicted.

    Args:
        args: streams of an ESPnet command line.
        num_codebooks: codes of a frame.
        codebook_size: classes; every code must be below it, -1 = no target.

    Raises:
        DataDirError: lists the problems (the first of each file).
    """
    problems = []
    for part in ("train", "valid"):
        for path, name, kind in getattr(args, f"{part}_data_path_and_name_and_type"):
            if name == CODES and kind == "text_int":
                problems += _text_problems(path, num_codebooks, codebook_size)
    if problems:
        raise DataDirError("\n".join(problems))


def _text_problems(path: str, num_codebooks: int, codebook_size: int) -> list[str]:
    if num_codebooks != 1:
        return [f"{path}: text_int has one code per frame, num_codebooks is {num_codebooks}"]
    for row in read_table(Path(path)).rows:
        try:
            codes = np.array(row.value.split(), dtype=np.int64)
        except (ValueError, OverflowError) as error:
            return [f"{path}:{row.line}: utterance {row.key}: {error}; make the codes again"]
        if len(codes) and not -1 <= codes.min() <= codes.max() < codebook_size:
            wrong = codes.max() if codes.max() >= codebook_size else codes.min()
            return [
                f"{path}:{row.line}: utterance {row.key} has code {wrong}, codes are 0 to "
                f"{codebook_size - 1} (-1 = none); they may stem from another quantiser: set "
                "num_classes or codebook_size to its size"
            ]
    return []


def _samples(shapes: list[str]) -> dict[str, int]:
    """Utterance -> samples, from shape files (``utt2num_samples``, or of collect_stats).

    ESPnet's recipes give one of the speech and one of the text: the larger number is that of
    samples.
    """
    found: dict[str, int] = {}
    for path in shapes:
        for key, count in read_samples(path).items():
            found[key] = max(count, found.get(key, 0))
    return found
