"""Stage 2: the training set: splits joined, at several speeds, without the longest and shortest.

``train_set.py data/train-clean-100 --out data/train --speeds 0.9 1.0 1.1 --bpemodel bpe.model``

Speeds other than 1 become FLAC files in OUT/audio, once, with the ids and speakers of Kaldi
(``sp0.9-...``); what a stopped run has written is kept. Shape suffix: S samples.
"""

from __future__ import annotations

import argparse
import json
import sys
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from espnet_kd.data.audio import Wave, read_audio, resample
from espnet_kd.data.kaldi_check import check_kaldi_dir
from espnet_kd.data.kaldi_dir import KaldiDir, load_tables, write_kaldi_dir
from espnet_kd.data.recording import write_audio
from espnet_kd.errors import KDError
from espnet_kd.utils.files import write_json
from espnet_kd.utils.progress import Progress

RATE = 16000
MADE_OF = "made_of.json"


def samples_at(samples: int, speed: float) -> int:
    """Samples of a recording at another speed, rounded as lhotse does (halves go up)."""
    return int(samples / speed + 0.5)


def perturbed(wave_S: Wave, speed: float) -> Wave:
    """Speech at another speed and pitch: the samples count as of another rate."""
    changed_S = resample(wave_S, round(RATE * speed), RATE)
    return changed_S[: samples_at(len(wave_S), speed)]


def at_speed(data: KaldiDir, speed: float, folder: Path) -> KaldiDir:
    """Tables of the data at a speed; its recordings are still to be written."""
    if speed == 1.0:
        return data
    prefix = f"sp{speed:g}-"
    return KaldiDir(
        {prefix + key: str(folder / f"{prefix}{key}.flac") for key in data.wav_scp},
        {prefix + key: prefix + speaker for key, speaker in data.utt2spk.items()},
        {prefix + key: text for key, text in data.text.items()},
        {prefix + key: samples_at(n, speed) for key, n in data.num_samples.items()},
    )


def is_wanted(samples: int, text: str, args: argparse.Namespace, tokens: Any) -> bool:
    """Published: 1 to 20 seconds, and a frame of the student for every token."""
    seconds = samples / RATE
    if not args.min_seconds <= seconds <= args.max_seconds:
        return False
    frames = ((samples // 160 - 1) // 2 - 1) // 2
    return tokens is None or len(tokens.encode(text)) <= frames


def write_recordings(whole: KaldiDir, data: KaldiDir, speed: float, args: Any) -> None:
    """Write what is not there of ``whole``, the data at a speed."""
    prefix = len(f"sp{speed:g}-")
    missing = [key for key, path in whole.wav_scp.items() if not Path(path).is_file()]

    def write(key: str) -> None:
        original = key[prefix:]
        wave_S = read_audio(data.wav_scp[original], original)
        write_audio(Path(whole.wav_scp[key]), np.clip(perturbed(wave_S, speed), -1.0, 1.0))

    with (
        Progress(f"speed {speed:g}", len(missing), "utterances") as progress,
        ThreadPoolExecutor(args.threads) as pool,
    ):
        for _ in pool.map(write, missing):
            progress.reach(progress.done + 1)


def parts_of(data: KaldiDir, args: argparse.Namespace, tokens: Any) -> Iterator[KaldiDir]:
    """The data at each speed, recordings written."""
    folder = (args.out / "audio").absolute()
    for speed in args.speeds:
        part = at_speed(data, speed, folder)
        part = part.subset(
            key
            for key, samples in part.num_samples.items()
            if is_wanted(samples, part.text.get(key, ""), args, tokens)
        )
        if speed != 1.0:
            write_recordings(part, data, speed, args)
        yield part


def load(folders: list[Path]) -> KaldiDir:
    """All splits together."""
    whole = KaldiDir({}, {})
    for folder in folders:
        part = load_tables(folder)
        for name in ("wav_scp", "utt2spk", "text", "num_samples"):
            getattr(whole, name).update(getattr(part, name))
    return whole


def made_of(args: argparse.Namespace) -> dict[str, Any]:
    """What the set depends on; another one is made where it differs."""
    files = [*(folder / "wav.scp" for folder in args.folders)]
    files += [args.bpemodel] if args.bpemodel else []
    sums = {path.name + str(i): zlib.crc32(path.read_bytes()) for i, path in enumerate(files)}
    names = ("speeds", "min_seconds", "max_seconds")
    return {**{name: getattr(args, name) for name in names}, "checksums": sums}


def is_current(args: argparse.Namespace) -> bool:
    stamp = args.out / MADE_OF
    if not stamp.is_file() or json.loads(stamp.read_text(encoding="utf-8")) != made_of(args):
        return False
    return not check_kaldi_dir(args.out)


def make(args: argparse.Namespace) -> str:
    """Write the set unless it is there; returns a line about it."""
    if is_current(args):
        return f"{args.out}: kept"
    (args.out / MADE_OF).unlink(missing_ok=True)
    tokens = None
    if args.bpemodel:
        from sentencepiece import SentencePieceProcessor

        tokens = SentencePieceProcessor(model_file=str(args.bpemodel))
    data, whole = load(args.folders), KaldiDir({}, {})
    for part in parts_of(data, args, tokens):
        for name in ("wav_scp", "utt2spk", "text", "num_samples"):
            getattr(whole, name).update(getattr(part, name))
    write_kaldi_dir(args.out, whole)
    write_json(args.out / MADE_OF, made_of(args))
    dropped = len(data) * len(args.speeds) - len(whole)
    return (
        f"{args.out}: {len(whole)} utterances, {whole.hours:.1f} h; {dropped} left out "
        f"(not {args.min_seconds:g} to {args.max_seconds:g} s, or more tokens than frames)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, help="Kaldi folders of the splits")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--speeds", nargs="+", type=float, default=[0.9, 1.0, 1.1])
    parser.add_argument("--min_seconds", type=float, default=1.0)
    parser.add_argument("--max_seconds", type=float, default=20.0)
    parser.add_argument("--bpemodel", type=Path, help="counts the tokens")
    parser.add_argument("--threads", type=int, default=4)
    args = parser.parse_args()
    if not all(0.1 <= speed <= 10 for speed in args.speeds):
        sys.exit(f"train_set.py: --speeds {args.speeds}: they lie between 0.1 and 10")
    try:
        print(make(args))
    except (KDError, OSError) as error:
        sys.exit(f"train_set.py: {error}")


if __name__ == "__main__":
    main()
