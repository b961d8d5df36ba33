"""From a corpus in LibriSpeech's layout to Kaldi data folders, one per split."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from espnet_kd.data.audio import DEFAULT_POLICY, AudioPolicy
from espnet_kd.data.kaldi_check import check_kaldi_dir
from espnet_kd.data.kaldi_dir import KaldiDir, load_tables, write_kaldi_dir, write_report
from espnet_kd.data.librispeech import scan_librispeech
from espnet_kd.utils.files import write_json

SKIPPED, MADE_FROM = "skipped.txt", "made_from.json"
"""Names of the list of recordings that were left out, and of the note of what a folder was made
of."""


def prepare_split(
    root: str | Path,
    split: str,
    folder: str | Path,
    *,
    policy: AudioPolicy = DEFAULT_POLICY,
    skip_bad: bool = False,
) -> tuple[KaldiDir, bool]:
    """Write the Kaldi folder of one split, unless a good one of the same is there already.

    Returns:
        The data, and whether it was made now.
    """
    target = Path(folder)
    made_of = {"root": str(root), "split": split, "skip_bad": skip_bad, **asdict(policy)}
    known = is_made_of(target / MADE_FROM, made_of) or not (target / MADE_FROM).exists()
    if known and (target / "wav.scp").exists() and not check_kaldi_dir(target):
        return load_tables(target), False
    data, skipped = scan_librispeech(root, split, policy=policy, skip_bad=skip_bad)
    for name in ("wav.scp", "text", SKIPPED):  # without wav.scp, nothing is whole
        (target / name).unlink(missing_ok=True)
    write_json(target / MADE_FROM, made_of)
    if skipped:
        write_report(target / SKIPPED, skipped)
    write_kaldi_dir(target, data)
    return data, True


def is_made_of(stamp: Path, made_of: Mapping[str, Any]) -> bool:
    """Whether the note of a folder is there and says just this."""
    try:
        found: Any = json.loads(stamp.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none, or damaged
        return False
    return bool(found == dict(made_of))


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
