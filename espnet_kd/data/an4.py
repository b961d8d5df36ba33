"""CMU AN4: NIST SPHERE recordings with a transcript list -> Kaldi data folders.

Layout: ``an4/wav/{an4_clstk,an4test_clstk}/SPEAKER/ID.sph`` and ``an4/etc/an4_*.{fileids,
transcription}``; a transcript line is ``<s> WORDS </s> (ID)``.
"""

from __future__ import annotations

import re
from pathlib import Path

from espnet_kd.data import librispeech
from espnet_kd.data.audio import DEFAULT_POLICY, AudioPolicy, inspect_audio, read_audio
from espnet_kd.data.kaldi_dir import KaldiDir
from espnet_kd.data.recording import Recording
from espnet_kd.errors import DataDirError

_LINE = re.compile(r"^(?:<s>)?\s*(.*?)\s*(?:</s>)?\s*\(([^()\s]+)\)\s*$")
_FOLDERS = {"train": "an4_clstk", "test": "an4test_clstk"}


def find_an4(root: str | Path) -> Path:
    """Return the folder that holds ``wav`` and ``etc``, at or up to two levels below ``root``."""
    base = Path(root)
    for candidate in (base, *sorted(base.glob("*")), *sorted(base.glob("*/*"))):
        if (candidate / "wav").is_dir() and (candidate / "etc").is_dir():
            return candidate
    raise DataDirError(f"{base}: no an4 folder (with wav/ and etc/) here; unpack AN4 there")


def scan_an4(root: str | Path, part: str, policy: AudioPolicy = DEFAULT_POLICY) -> KaldiDir:
    """List the recordings of ``train`` or ``test`` that have a transcript.

    Raises:
        DataDirError: not AN4, a malformed transcript line (file and line), nothing found.
        AudioError: an unusable recording.
    """
    base = find_an4(root)
    texts = read_transcripts(base / "etc" / f"an4_{part}.transcription")
    data = KaldiDir({}, {})
    for path in sorted((base / "wav" / _FOLDERS[part]).glob("*/*.sph")):
        if path.stem not in texts:
            continue  # the corpus has recordings that nobody transcribed
        utterance = f"{path.parent.name}-{path.stem}"
        data.num_samples[utterance] = inspect_audio(path, utterance, policy).samples
        data.wav_scp[utterance] = str(path)
        data.utt2spk[utterance] = path.parent.name
        data.text[utterance] = texts[path.stem]
    if not data.wav_scp:
        raise DataDirError(f"{base}: no transcribed recording of its {part} part")
    return data


def read_transcripts(path: Path) -> dict[str, str]:
    """Recording id -> words in upper case."""
    if not path.is_file():
        raise DataDirError(f"{path}: no such file; unpack AN4 again")
    texts = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        match = _LINE.match(line)
        if not match or not match[1]:
            raise DataDirError(f"{path}:{number}: not of the form '<s> WORDS </s> (ID)': {line!r}")
        texts[match[2]] = match[1].upper()
    return texts


def export_librispeech(root: str | Path, out: str | Path) -> None:
    """Write AN4 in LibriSpeech's layout: speakers become numbers, 1 in 10 utterances is dev.

    Splits: ``train-clean-360`` and ``train-clean-100`` (the same speech), ``dev-clean``,
    ``test-clean``.
    """
    train, test = scan_an4(root, "train"), scan_an4(root, "test")
    speakers = sorted({*train.utt2spk.values(), *test.utt2spk.values()})
    numbers = {name: str(3001 + i) for i, name in enumerate(speakers)}
    utterances = sorted(train.wav_scp)
    dev = set(utterances[:: min(10, len(utterances))])
    train_ids = [key for key in utterances if key not in dev] or utterances
    libri = Path(out) / "LibriSpeech"
    for split, data, chosen in (
        ("train-clean-360", train, train_ids),
        ("train-clean-100", train, train_ids),
        ("dev-clean", train, sorted(dev)),
        ("test-clean", test, sorted(test.wav_scp)),
    ):
        for speaker in speakers:
            mine = [key for key in chosen if data.utt2spk[key] == speaker]
            recordings = [
                Recording(
                    numbers[speaker], "1", i, data.text[key], read_audio(data.wav_scp[key], key)
                )
                for i, key in enumerate(mine)
            ]
            librispeech.write_chapter(libri, split, recordings)
