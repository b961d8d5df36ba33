"""A Kaldi data folder: ``wav.scp``, ``text``, ``utt2spk``, ``spk2utt``, ``utt2num_samples``, and
``segments`` for those who read stretches of recordings.

``utt2num_samples`` (``utterance samples``) is what ESPnet calls a speech shape file: pass it to
``--train_shape_file`` and ``--collect_stats`` need not be run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from espnet_kd.data.kaldi_check import check_kaldi_dir
from espnet_kd.data.segments import SEGMENTS, Span, read_segments, write_segments
from espnet_kd.data.tables import read_table, sort_key, write_table
from espnet_kd.errors import DataDirError
from espnet_kd.utils.files import write_text


@dataclass
class KaldiDir:
    """The contents of a data folder; every mapping is keyed by utterance id."""

    wav_scp: dict[str, str]
    """Utterance -> path of its recording (relative paths count from the working folder); with
    ``segments`` recording -> path."""

    utt2spk: dict[str, str]
    """Utterance -> speaker."""

    text: dict[str, str] = field(default_factory=dict)
    """Utterance -> transcript; empty for unlabelled speech."""

    num_samples: dict[str, int] = field(default_factory=dict)
    """Utterance -> samples; empty if not counted."""

    segments: dict[str, Span] = field(default_factory=dict)
    """Utterance -> stretch of a recording; empty where each recording is one utterance."""

    def __len__(self) -> int:
        return len(self.segments or self.wav_scp)

    @property
    def hours(self) -> float:
        """Total duration at 16 kHz, in hours."""
        return sum(self.num_samples.values()) / 16000 / 3600

    def subset(self, utterances: Iterable[str]) -> KaldiDir:
        """Keep only these utterances."""
        keep = set(utterances)
        segments = {key: value for key, value in self.segments.items() if key in keep}
        files = {span.recording for span in segments.values()} if self.segments else keep
        return KaldiDir(
            {key: value for key, value in self.wav_scp.items() if key in files},
            {key: value for key, value in self.utt2spk.items() if key in keep},
            {key: value for key, value in self.text.items() if key in keep},
            {key: value for key, value in self.num_samples.items() if key in keep},
            segments,
        )


def speakers_to_utterances(utt2spk: Mapping[str, str]) -> dict[str, str]:
    """Invert ``utt2spk``: speaker -> its utterances, sorted, separated by spaces."""
    inverse: dict[str, list[str]] = {}
    for utterance in sorted(utt2spk, key=sort_key):
        inverse.setdefault(utt2spk[utterance], []).append(utterance)
    return {speaker: " ".join(utterances) for speaker, utterances in inverse.items()}


def write_kaldi_dir(folder: str | Path, data: KaldiDir) -> None:
    """Write all files of ``folder``, each sorted and atomically; ``wav.scp`` comes last.

    A reader that finds ``wav.scp`` therefore finds a complete folder.
    """
    target = Path(folder)
    if not data.wav_scp:
        raise DataDirError(f"{target}: no utterance is left to write")
    write_table(target / "utt2spk", data.utt2spk)
    write_table(target / "spk2utt", speakers_to_utterances(data.utt2spk))
    if data.text:
        write_table(target / "text", data.text)
    if data.num_samples:
        counts = {key: str(value) for key, value in data.num_samples.items()}
        write_table(target / "utt2num_samples", counts)
    if data.segments:
        write_segments(target, data.segments)
    write_table(target / "wav.scp", data.wav_scp)


def read_kaldi_dir(
    folder: str | Path,
    *,
    need_text: bool = False,
    need_files: bool = True,
    segments: bool = False,
) -> KaldiDir:
    """Read a data folder that passes :func:`check_kaldi_dir`.

    Args:
        folder: the folder.
        need_text: a missing ``text`` is a problem too.
        need_files: a missing recording is a problem too.
        segments: whether the caller can read stretches of recordings.

    Raises:
        DataDirError: lists all problems, each with file and line, and how to repair a copy; or the
            folder has ``segments`` and the caller needs whole recordings.
    """
    source = Path(folder)
    if not source.is_dir():
        raise DataDirError(check_kaldi_dir(source)[0].within(source))
    if (source / SEGMENTS).is_file() and not segments:
        raise DataDirError(
            f"{source / SEGMENTS}: stretches of recordings are not read here; cut the "
            "recordings into one file per utterance first"
        )
    problems = check_kaldi_dir(source, need_text=need_text, need_files=need_files)
    if problems:
        listing = "\n".join(f"  {problem.within(source)}" for problem in problems)
        raise DataDirError(
            f"{source}: {len(problems)} problem(s)\n{listing}\n"
            f"repair a copy with: python -m espnet_kd.bin.check_data {source} --fix NEW_FOLDER"
        )
    return load_tables(source)


def load_tables(source: Path) -> KaldiDir:
    """Read the files of ``source`` without checking them against each other."""

    def column(name: str) -> dict[str, str]:
        path = source / name
        if not path.exists():
            return {}
        return {key: row.value for key, row in read_table(path).first().items()}

    counts = {key: int(value) for key, value in column("utt2num_samples").items()}
    spans = read_segments(source) if (source / SEGMENTS).is_file() else {}
    return KaldiDir(column("wav.scp"), column("utt2spk"), column("text"), counts, spans)


def write_report(path: str | Path, lines: Iterable[str]) -> None:
    """Write one line per change or problem."""
    write_text(path, "".join(f"{line}\n" for line in lines))
