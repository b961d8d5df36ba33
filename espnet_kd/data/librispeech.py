"""LibriSpeech's layout: ``SPLIT/READER/CHAPTER/READER-CHAPTER-INDEX.flac`` and ``.trans.txt``."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from espnet_kd.data.audio import DEFAULT_POLICY, AudioPolicy, inspect_audio
from espnet_kd.data.kaldi_dir import KaldiDir
from espnet_kd.data.recording import Recording, write_audio
from espnet_kd.errors import AudioError, DataDirError
from espnet_kd.utils.files import write_text

MAX_BAD_SHARE = 0.01
"""Largest share of unusable recordings that may be skipped on request."""


def chapter_folder(root: Path, split: str, speaker: str, chapter: str) -> Path:
    """Folder of one chapter."""
    return root / split / speaker / chapter


def transcript_file(folder: Path) -> Path:
    """Transcript file of a chapter's folder."""
    return folder / f"{folder.parent.name}-{folder.name}.trans.txt"


def write_chapter(root: str | Path, split: str, recordings: Iterable[Recording]) -> list[str]:
    """Write recordings of one chapter; its transcript file comes last and marks it complete.

    Returns:
        The utterance ids.
    """
    lines = []
    folder = None
    for recording in recordings:
        folder = chapter_folder(Path(root), split, recording.speaker, recording.chapter)
        write_audio(folder / f"{recording.utterance}.flac", recording.wave_S)
        lines.append(f"{recording.utterance} {recording.text}".strip())
    if folder is not None:
        write_text(transcript_file(folder), "".join(f"{line}\n" for line in lines))
    return [line.split()[0] for line in lines]


def scan_librispeech(
    root: str | Path,
    split: str,
    *,
    policy: AudioPolicy = DEFAULT_POLICY,
    skip_bad: bool = False,
    threads: int = 4,
) -> tuple[KaldiDir, list[str]]:
    """Walk one split and check the header of each recording.

    Args:
        root: the folder that holds the splits (``LibriSpeech``).
        split: such as ``train-clean-100``.
        policy: what an acceptable recording is.
        skip_bad: leave unusable recordings out, up to 1 % of the split, instead of stopping.
        threads: header checks at a time.

    Returns:
        The data folder's contents, and one message per skipped recording.

    Raises:
        DataDirError: no such split, no recording, too many unusable ones.
        AudioError: an unusable recording and ``skip_bad`` is off.
    """
    folder = Path(root) / split
    if not folder.is_dir():
        raise DataDirError(f"no split {split!r} in {root} ({_splits(Path(root))})")
    paths = sorted([*folder.glob("*/*/*.flac"), *folder.glob("*/*/*.wav")])
    if not paths:
        raise DataDirError(f"{folder}: no READER/CHAPTER/*.flac in it")
    data, skipped = KaldiDir({}, {}), []
    with ThreadPoolExecutor(threads) as pool:
        checks = pool.map(lambda path: _samples(path, policy), paths)
        shown = tqdm(checks, total=len(paths), desc=f"check {split}", unit="utt", leave=False)
        for path, samples in zip(paths, shown, strict=True):
            if isinstance(samples, AudioError):
                if not skip_bad:
                    raise samples
                skipped.append(str(samples))
                continue
            data.wav_scp[path.stem] = str(path)
            data.utt2spk[path.stem] = path.parts[-3]
            data.num_samples[path.stem] = samples
    if len(skipped) > MAX_BAD_SHARE * len(paths):
        raise DataDirError(
            f"{folder}: {len(skipped)} of {len(paths)} recordings are unusable, more than "
            f"{MAX_BAD_SHARE:.0%}; the first: {skipped[0]}"
        )
    data.text = _transcripts(folder, set(data.wav_scp))
    return data, skipped


def _splits(root: Path) -> str:
    if not root.is_dir():
        return "no such folder either"
    names = sorted(path.name for path in root.iterdir() if path.is_dir())
    return "it has " + (", ".join(names) or "no folders")


def _samples(path: Path, policy: AudioPolicy) -> int | AudioError:
    try:
        return inspect_audio(path, path.stem, policy).samples
    except AudioError as error:
        return error


def _transcripts(folder: Path, utterances: set[str]) -> dict[str, str]:
    """Read all transcripts; either every recording has one or the split is unlabelled."""
    text = {}
    for file in sorted(folder.glob("*/*/*.trans.txt")):
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            fields = line.split(maxsplit=1)
            if not fields:
                raise DataDirError(f"{file}:{number}: blank line; remove it")
            if len(fields) == 2 and fields[0] in utterances:
                text[fields[0]] = fields[1]
    missing = sorted(utterances - text.keys())
    if text and missing:
        raise DataDirError(
            f"{folder}: {len(missing)} recording(s) without transcript, the first {missing[0]}; "
            "complete its .trans.txt or remove the recording"
        )
    return text
