"""Check Kaldi data folders and their recordings, or repair a copy.

``python -m espnet_kd.bin.check_data DIR... [--read true] [--fix NEW_DIR]``

Prints every problem with file and line and exits with status 1 if there is any.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from espnet_kd.data.audio import AudioPolicy, inspect_audio, read_audio
from espnet_kd.data.kaldi_check import check_kaldi_dir
from espnet_kd.data.kaldi_dir import KaldiDir, load_tables
from espnet_kd.data.kaldi_fix import REPORT, fix_kaldi_dir
from espnet_kd.data.options import add_policy_options, boolean, policy_from
from espnet_kd.errors import AudioError, KDError


def get_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(
        prog="espnet_kd.bin.check_data",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="Kaldi data folders")
    parser.add_argument("--need_text", type=boolean, default=False, help="text must be there")
    parser.add_argument("--audio", type=boolean, default=True, help="look at the headers too")
    parser.add_argument("--read", type=boolean, default=False, help="read all samples (slow)")
    parser.add_argument("--fix", type=Path, help="write a repaired copy here (one DIR only)")
    add_policy_options(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Check or repair; the exit status is 1 if a problem is left."""
    parser = get_parser()
    args = parser.parse_args(argv)
    if args.fix is not None and len(args.folders) != 1:
        parser.error("--fix repairs one folder at a time")
    try:
        if args.fix is not None:
            report = fix_kaldi_dir(args.folders[0], args.fix, need_text=args.need_text)
            print(f"{args.fix}: repaired copy, {len(report)} change(s), see {args.fix / REPORT}")
            args.folders = [args.fix]
        problems = [line for folder in args.folders for line in _check(folder, args)]
    except KDError as error:
        sys.exit(f"espnet_kd.bin.check_data: {error}")
    if problems:
        print("\n".join(problems), file=sys.stderr)
        sys.exit(f"espnet_kd.bin.check_data: {len(problems)} problem(s)")


def _check(folder: Path, args: argparse.Namespace) -> list[str]:
    problems = [
        problem.within(folder) for problem in check_kaldi_dir(folder, need_text=args.need_text)
    ]
    if problems:
        return problems
    data = load_tables(folder)
    if args.audio or args.read:
        problems = _check_audio(data, policy_from(args), args.read)
    if not problems:
        hours = f", {data.hours:.2f} h" if data.num_samples else ""
        labels = "with text" if data.text else "without text"
        print(f"{folder}: {len(data)} utterances{hours}, {labels}: good")
    return problems


def _check_audio(data: KaldiDir, policy: AudioPolicy, read: bool) -> list[str]:
    problems = []
    for utterance, path in tqdm(data.wav_scp.items(), desc="audio", unit="utt", leave=False):
        try:
            found = (
                len(read_audio(path, utterance, policy))
                if read
                else inspect_audio(path, utterance, policy).samples
            )
        except AudioError as error:
            problems.append(str(error))
            continue
        promised = data.num_samples.get(utterance, found)
        if found != promised and policy.rate_policy == "error":
            problems.append(
                f"utterance {utterance}: {path} has {found} samples, utt2num_samples says "
                f"{promised}; prepare the folder again"
            )
    return problems


if __name__ == "__main__":
    main()
