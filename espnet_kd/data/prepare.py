"""From a corpus in LibriSpeech's layout to Kaldi data folders, one per split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from espnet_kd.data.audio import DEFAULT_POLICY, AudioPolicy
from espnet_kd.data.kaldi_check import check_kaldi_dir
from espnet_kd.data.kaldi_dir import KaldiDir, load_tables, write_kaldi_dir, write_report
from espnet_kd.data.librispeech import scan_librispeech

SKIPPED = "skipped.txt"
"""Name of the list of recordings that were left out."""


def prepare_split(
    root: str | Path,
    split: str,
    folder: str | Path,
    *,
    policy: AudioPolicy = DEFAULT_POLICY,
    skip_bad: bool = False,
) -> tuple[KaldiDir, bool]:
    """Write the Kaldi folder of one split, unless a good one is there already.

    Returns:
        The data, and whether it was made now.
    """
    target = Path(folder)
    if (target / "wav.scp").exists() and not check_kaldi_dir(target):
        return load_tables(target), False
    data, skipped = scan_librispeech(root, split, policy=policy, skip_bad=skip_bad)
    write_kaldi_dir(target, data)
    if skipped:
        write_report(target / SKIPPED, skipped)
    return data, True


def combine(folders: Sequence[str | Path], target: str | Path) -> KaldiDir:
    """Write one folder that holds the recordings of several; ids must not clash."""
    whole = KaldiDir({}, {})
    for folder in folders:
        part = load_tables(Path(folder))
        whole.wav_scp.update(part.wav_scp)
        whole.utt2spk.update(part.utt2spk)
        whole.text.update(part.text)
        whole.num_samples.update(part.num_samples)
    if len(whole.text) < len(whole.wav_scp):
        whole.text = {}
    write_kaldi_dir(target, whole)
    return whole
