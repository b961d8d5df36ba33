"""Connected digits from the Free Spoken Digit Dataset (FSDD): real speech, a few speakers.

FSDD holds single digits, ``DIGIT_SPEAKER_INDEX.wav``, mono, 8 kHz; by its own convention indexes
0-4 are the test set and 5-49 the training set. Here indexes 5-9 become the development set, and
recordings of one speaker are strung together with pauses. No recording is in two sets.

Shape suffix: S samples.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
from tqdm import tqdm

from espnet_kd.data import librispeech, voxceleb
from espnet_kd.data.audio import resample
from espnet_kd.data.recording import Recording
from espnet_kd.data.vocabulary import DIGITS, lexicon_lines
from espnet_kd.errors import AudioError, DataDirError
from espnet_kd.utils.files import write_text

_NAME = re.compile(r"(\d)_([A-Za-z]+)_(\d+)\.wav$")
_WORDS = list(DIGITS)

RANGES = {"test": range(5), "dev": range(5, 10), "train": range(10, 50)}
"""Set -> numbers of its recordings."""


@dataclass(frozen=True)
class DigitsPlan:
    """How many utterances per speaker each part has."""

    seed: int = 0
    """Decides which digits follow each other, and the pauses."""

    unlabelled_utterances: int = 200
    """``train-clean-360``: training recordings in random strings."""

    labelled_utterances: int = 60
    """``train-clean-100``: training recordings in random strings, with transcripts."""

    heldout_utterances: int = 20
    """``dev-clean`` and ``test-clean``."""

    sid_utterances: int = 40
    """Speaker identification: training utterances; dev and test have ``heldout_utterances``."""


Wave = npt.NDArray[np.float32]
Digits = dict[tuple[str, int, int], Wave]
"""(speaker, digit, index) -> (S,) samples at 16 kHz."""


def load_digits(source: str | Path) -> Digits:
    """Read FSDD from its folder or from a ``.tar.gz`` of it, upsampled to 16 kHz.

    Nothing is unpacked to disk; other members of the archive are ignored.

    Raises:
        DataDirError: not there, or no recording of the right name in it.
        AudioError: a recording is damaged.
    """
    path = Path(source)
    if path.is_dir():
        files: Iterable[tuple[str, bytes]] = (
            (str(file), file.read_bytes()) for file in sorted(path.rglob("*.wav"))
        )
    elif path.is_file() and tarfile.is_tarfile(path):
        files = _members(path)
    else:
        raise DataDirError(f"{path}: neither a folder nor a tar file; unpack FSDD there")
    digits: Digits = {}
    for name, data in tqdm(files, desc="read digits", unit="file", leave=False):
        match = _NAME.search(name)
        if match:
            key = (match[2].lower(), int(match[1]), int(match[3]))
            digits[key] = _decode(name, data)
    if not digits:
        raise DataDirError(f"{path}: no DIGIT_SPEAKER_INDEX.wav in it; is this FSDD?")
    return digits


def _members(path: Path) -> Iterable[tuple[str, bytes]]:
    with tarfile.open(path) as archive:
        for member in archive:
            stream = archive.extractfile(member) if member.isreg() else None
            if stream is not None and _NAME.search(member.name):
                yield member.name, stream.read()


def _decode(name: str, data: bytes) -> Wave:
    try:
        wave_S, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise AudioError(f"{name}: not readable as audio ({error}); unpack FSDD again") from error
    if wave_S.ndim != 1 or not len(wave_S):
        raise AudioError(f"{name}: expected one channel of speech; unpack FSDD again")
    return resample(wave_S, rate, 16000) if rate != 16000 else wave_S


def prepare_digits(source: str | Path, root: str | Path, plan: DigitsPlan) -> None:
    """Read FSDD and write what :func:`write_digits` writes."""
    write_digits(load_digits(source), root, plan)


def write_digits(digits: Digits, root: str | Path, plan: DigitsPlan) -> None:
    """Write ``LibriSpeech/``, ``VoxCeleb1/`` and ``lexicon.txt`` of connected digits.

    There is no keyword corpus: to S3PRL's keyword task all digits are one class, ``_unknown_``.
    """
    maker = _Maker(digits, plan)
    folder = Path(root)
    libri = folder / "LibriSpeech"
    for speaker in tqdm(maker.speakers, desc="string digits", unit="speaker"):
        for split, part, chapter, count in (
            ("train-clean-360", "train", 360, plan.unlabelled_utterances),
            ("train-clean-100", "train", 100, plan.labelled_utterances),
            ("dev-clean", "dev", 1, plan.heldout_utterances),
            ("test-clean", "test", 1, plan.heldout_utterances),
        ):
            librispeech.write_chapter(libri, split, maker.strings(speaker, part, chapter, count))
    ids = voxceleb.speaker_ids(maker.numbers.values())
    lines = []
    for speaker in maker.speakers:
        splits = {
            "train": maker.strings(speaker, "train", 500, plan.sid_utterances),
            "dev": maker.strings(speaker, "dev", 501, plan.heldout_utterances),
            "test": maker.strings(speaker, "test", 502, plan.heldout_utterances),
        }
        lines += voxceleb.write_voxceleb(folder / "VoxCeleb1", splits, ids)
    voxceleb.write_meta(folder / "VoxCeleb1", lines)
    write_text(folder / "lexicon.txt", lexicon_lines(DIGITS))


class _Maker:
    """Strings digits of one speaker and one set together."""

    def __init__(self, digits: Digits, plan: DigitsPlan) -> None:
        self.digits = digits
        self.plan = plan
        self.speakers = sorted({speaker for speaker, _, _ in digits})
        self.numbers = {name: str(2001 + i) for i, name in enumerate(self.speakers)}
        self.pools: dict[tuple[str, str], list[tuple[int, int]]] = {}
        for speaker, digit, index in sorted(digits):
            for part, indexes in RANGES.items():
                if index in indexes:
                    self.pools.setdefault((speaker, part), []).append((digit, index))

    def strings(self, speaker: str, part: str, chapter: int, count: int) -> list[Recording]:
        """Draw ``count`` strings of 3-7 digits with pauses of 50-250 ms."""
        pool = self.pools.get((speaker, part), [])
        if not pool:
            raise DataDirError(f"FSDD has no {part} recording of {speaker}")
        rng = np.random.default_rng([self.plan.seed, self.speakers.index(speaker), chapter])
        return [self._string(speaker, pool, chapter, index, rng) for index in range(count)]

    def _string(
        self,
        speaker: str,
        pool: list[tuple[int, int]],
        chapter: int,
        number: int,
        rng: np.random.Generator,
    ) -> Recording:
        chosen = [pool[i] for i in rng.integers(len(pool), size=rng.integers(3, 8))]
        pieces = [pause(rng)]
        for digit, index in chosen:
            pieces += [self.digits[speaker, digit, index], pause(rng)]
        text = " ".join(_WORDS[digit] for digit, _ in chosen).upper()
        wave_S = np.concatenate(pieces)
        return Recording(self.numbers[speaker], str(chapter), number, text, wave_S)


def pause(rng: np.random.Generator, pace: float = 1.0) -> Wave:
    """Return 50-250 ms of very faint noise (recordings are trimmed, silence would be digital).

    Args:
        rng: decides length and noise.
        pace: divides the length.
    """
    samples = int(rng.integers(800, 4000) / pace)
    return (rng.standard_normal(samples) * 3e-4).astype(np.float32)
