"""The one place that knows the corpora: ``KIND`` or ``KIND:PATH`` -> folders that recipes use."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from espnet_kd.data.an4 import export_librispeech
from espnet_kd.data.audio import AudioPolicy
from espnet_kd.data.digits import DigitsPlan, prepare_digits
from espnet_kd.data.kaldi_dir import KaldiDir
from espnet_kd.data.speaker_id import make_speaker_id
from espnet_kd.data.synthesis import SynthesisPlan, synthesise
from espnet_kd.data.voxceleb import META
from espnet_kd.errors import DataDirError
from espnet_kd.utils.files import write_json

KINDS = ("synthetic", "digits", "an4", "librispeech")
"""Known kinds; all but ``synthetic`` need a path."""

SIZES = ("smoke", "mini")
"""Sizes of the corpora that are made here: minutes of speech, or just enough to run."""

_SMOKE_SYNTHESIS = {
    "unlabelled_speakers": 4,
    "unlabelled_utterances": 6,
    "labelled_speakers": 3,
    "labelled_utterances": 5,
    "heldout_speakers": 1,
    "heldout_utterances": 4,
    "sid_utterances": 4,
    "word_repeats": 0,
}
_SMOKE_DIGITS = {
    "unlabelled_utterances": 6,
    "labelled_utterances": 4,
    "heldout_utterances": 2,
    "sid_utterances": 4,
}


@dataclass(frozen=True)
class Corpus:
    """Where the layouts of one corpus are; an empty path = the corpus has no such part."""

    kind: str
    """One of :data:`KINDS`."""

    librispeech: str
    """Root of LibriSpeech's layout (ASR, phone recognition, distillation)."""

    voxceleb: str = ""
    """Root of VoxCeleb1's layout (speaker identification)."""

    speech_commands: str = ""
    """Folder that holds ``speech_commands`` and ``speech_commands_test`` (keywords)."""

    lexicon: str = ""
    """Lexicon file (phone recognition)."""


def parse_corpus(text: str) -> tuple[str, str]:
    """Split ``KIND:PATH``.

    Raises:
        DataDirError: unknown kind, or a path is missing or too much.
    """
    kind, _, path = text.partition(":")
    if kind not in KINDS:
        raise DataDirError(f"--corpus {text}: unknown kind {kind!r}; known: {', '.join(KINDS)}")
    if kind == "synthetic" and path:
        raise DataDirError(f"--corpus {text}: the synthetic corpus takes no path")
    if kind != "synthetic" and not path:
        raise DataDirError(f"--corpus {text}: say where it is, --corpus {kind}:PATH")
    return kind, path


def make_corpus(
    corpus: str, out: str | Path, *, seed: int = 0, size: str = "mini", processes: int = 2
) -> Corpus:
    """Bring a corpus into the layouts that recipes use, and note them in ``out/corpus.json``.

    Args:
        corpus: ``synthetic``, ``digits:PATH``, ``an4:PATH`` or ``librispeech:PATH``.
        out: folder for what is made; a corpus in LibriSpeech's layout stays where it is.
        seed: decides what is random in ``synthetic`` and ``digits``.
        size: one of :data:`SIZES`.
        processes: how many to use for synthesis.
    """
    kind, path = parse_corpus(corpus)
    root = Path(out)
    if kind == "synthetic":
        plan = SynthesisPlan(seed=seed, **(_SMOKE_SYNTHESIS if size == "smoke" else {}))
        synthesise(root, plan, processes)
    elif kind == "digits":
        digits = DigitsPlan(seed=seed, **(_SMOKE_DIGITS if size == "smoke" else {}))
        prepare_digits(path, root, digits)
    elif kind == "an4":
        export_librispeech(path, root)
    libri = Path(path) if kind == "librispeech" else root / "LibriSpeech"
    made = Corpus(
        kind,
        str(_inner_librispeech(libri)),
        _if_there(root / "VoxCeleb1", META),
        _if_there(root, "speech_commands"),
        _if_there(root / "lexicon.txt"),
    )
    write_json(root / "corpus.json", asdict(made))
    return made


def add_speaker_id(corpus: Corpus, data: KaldiDir, out: Path, policy: AudioPolicy) -> Corpus:
    """Make speaker identification data of a split and note it in ``out/corpus.json``."""
    root = out / "VoxCeleb1"
    if not make_speaker_id(data, root, policy=policy):
        print(f"{out}: no speaker has three utterances, there will be no speaker identification")
        return corpus
    corpus = replace(corpus, voxceleb=str(root))
    write_json(out / "corpus.json", asdict(corpus))
    return corpus


def _inner_librispeech(path: Path) -> Path:
    """Accept both the folder of the splits and the one above it."""
    return path / "LibriSpeech" if (path / "LibriSpeech").is_dir() else path


def _if_there(path: Path, inside: str = "") -> str:
    return str(path) if (path / inside).exists() else ""
