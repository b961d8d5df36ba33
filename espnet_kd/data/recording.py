"""One utterance in memory, on its way to some corpus layout. Shape suffix: S samples."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from espnet_kd.errors import KDError


@dataclass(frozen=True)
class Recording:
    """Speech of one speaker with its transcript, at 16 kHz."""

    speaker: str
    """Reader, digits only as in LibriSpeech."""

    chapter: str
    """Recording session of that reader, digits only."""

    index: int
    """Position in the session."""

    text: str
    """Transcript in upper case; empty = unlabelled."""

    wave_S: npt.NDArray[np.float32]
    """(S,) samples in [-1, 1]."""

    @property
    def utterance(self) -> str:
        """Id in LibriSpeech's form, ``speaker-chapter-index``."""
        return f"{self.speaker}-{self.chapter}-{self.index:04d}"


def write_audio(path: Path, wave_S: npt.NDArray[np.float32], sample_rate: int = 16000) -> None:
    """Write 16-bit audio, complete or not at all; the suffix of ``path`` names the format.

    Not flushed to the disk file by file (a corpus has thousands): whoever writes a corpus marks
    its completeness with a file of its own.
    """
    import soundfile

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    kind = path.suffix.lstrip(".").upper()
    try:
        soundfile.write(str(partial), wave_S, sample_rate, subtype="PCM_16", format=kind)
        os.replace(partial, path)
    except (soundfile.LibsndfileError, OSError) as error:
        partial.unlink(missing_ok=True)
        raise KDError(f"cannot write {path}: {error}; is the disk full?") from error
