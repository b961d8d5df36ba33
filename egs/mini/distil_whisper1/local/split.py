"""Stage 1: share the training speech out, so that every kind of data of a distillation is there.

``split.py --data DATA --train train-clean-360 train-clean-100 --valid dev-clean --test test-clean
--seed 0`` writes into ``DATA/whisper``:

``teacher``         with transcripts, for the teacher alone
``transcribed``     with transcripts, to be labelled: what a WER filter can judge
``untranscribed``   without, to be labelled: what only label-free measures can judge
``valid``, ``test`` as they are

Text is in lower case: these are the tokens that Whisper's vocabulary has for common words.
``seconds`` is the window that the models shall have: what is longer is left out and listed in
``left_out.txt``. By default it is as long as the longest utterance, in whole seconds.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from espnet_kd.data.kaldi_dir import KaldiDir, load_tables, write_kaldi_dir, write_report
from espnet_kd.errors import DataDirError, KDError
from espnet_kd.utils.files import write_text

PARTS = ("teacher", "transcribed", "untranscribed")
RATE = 16000
LONGEST = 30
"""Seconds of a published Whisper's window."""


def join(folders: Sequence[Path]) -> KaldiDir:
    """The recordings of several folders, with text in lower case."""
    whole = KaldiDir({}, {})
    for folder in folders:
        part = load_tables(folder)
        if len(part.text) < len(part):
            raise DataDirError(f"{folder}: stage 1 needs transcripts of all utterances")
        whole.wav_scp |= part.wav_scp
        whole.utt2spk |= part.utt2spk
        whole.text |= {key: text.lower() for key, text in part.text.items()}
        whole.num_samples |= part.num_samples
    return whole


def window(sets: Iterable[KaldiDir]) -> int:
    """Whole seconds for the longest utterance."""
    longest = max(count for data in sets for count in data.num_samples.values())
    return min(-(-longest // RATE), LONGEST)


def fitting(data: KaldiDir, seconds: int) -> tuple[KaldiDir, list[str]]:
    """What is no longer than a window, and a line about each utterance that is."""
    most = seconds * RATE
    long = {key: count for key, count in data.num_samples.items() if count > most}
    lines = [f"{key} lasts {count / RATE:.2f} s" for key, count in sorted(long.items())]
    return data.subset(data.wav_scp.keys() - long.keys()), lines


def share_out(keys: Sequence[str], shares: Sequence[float], seed: int) -> list[list[str]]:
    """Random parts of the given sizes; the last one is the rest."""
    order = np.random.default_rng([seed, 17]).permutation(sorted(keys)).tolist()
    ends = (np.cumsum(shares) * len(order)).round().astype(int)
    return [part.tolist() for part in np.split(np.asarray(order), ends)]


def split(args: argparse.Namespace) -> Mapping[str, KaldiDir]:
    """Write all folders and return what they hold."""
    out = args.data / "whisper"
    folders = {"train": args.train, "valid": [args.valid], "test": [args.test]}
    found = {name: join([args.data / part for part in parts]) for name, parts in folders.items()}
    seconds = args.seconds or window(found.values())
    left_out = []
    for name, data in found.items():
        found[name], lines = fitting(data, seconds)
        left_out += [f"{name}: {line}" for line in lines]
    train = found.pop("train")
    for name, keys in zip(PARTS, share_out([*train.wav_scp], args.shares, args.seed), strict=True):
        found[name] = train.subset(keys)
    found["untranscribed"].text = {}
    for name, data in found.items():
        write_kaldi_dir(out / name, data)
    write_report(out / "left_out.txt", left_out)
    write_text(out / "seconds", f"{seconds}\n")
    print(f"{len(left_out)} utterances are longer than {seconds} s ({out / 'left_out.txt'})")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the prepared splits")
    parser.add_argument("--train", nargs="+", required=True)
    parser.add_argument("--valid", required=True)
    parser.add_argument("--test", required=True)
    parser.add_argument("--seconds", type=int, default=0, help="window; 0 = all utterances fit")
    parser.add_argument("--shares", type=float, nargs=2, default=[0.5, 0.2], help="first two parts")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if not (min(args.shares) > 0 and sum(args.shares) < 1):
        sys.exit(f"split.py: --shares {args.shares} must be positive and leave something over")
    try:
        for name, data in split(args).items():
            text = "with" if data.text else "without"
            print(f"{name}: {len(data)} utterances, {data.hours * 60:.1f} min, {text} transcripts")
    except KDError as error:
        sys.exit(f"split.py: {error}")


if __name__ == "__main__":
    main()
