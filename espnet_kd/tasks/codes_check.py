"""The code streams of an ESPnet command line, checked before the first batch."""

from __future__ import annotations

import argparse

from espnet_kd.data.codes import check_codes
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
