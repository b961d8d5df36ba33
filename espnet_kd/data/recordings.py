"""Utterances of a Kaldi folder as waveforms: whole recordings, or pieces of them by ``segments``.

Shape suffix: S samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from espnet_kd.data.audio import DEFAULT_POLICY, AudioPolicy, Wave, inspect_audio, read_audio
from espnet_kd.data.tables import Problem, Table, read_table
from espnet_kd.errors import AudioError, DataDirError


@dataclass(frozen=True)
class Segment:
    """Where an utterance lies in its recording."""

    recording: str
    """Key of ``wav.scp``."""

    start: float = 0.0
    """Seconds."""

    end: float | None = None
    """Seconds; None = to the end of the recording."""


class Recordings:
    """The audio of one folder, read when it is asked for; the last recording is remembered.

    Args:
        wav_scp: recording to its file.
        segments: utterance to its place; without them every recording is an utterance.
        policy: what an acceptable recording is.
    """

    def __init__(
        self,
        wav_scp: Mapping[str, str],
        segments: Mapping[str, Segment] | None = None,
        policy: AudioPolicy = DEFAULT_POLICY,
    ) -> None:
        self.wav_scp = dict(wav_scp)
        whole = {key: Segment(key) for key in self.wav_scp}
        self.segments = whole if segments is None else dict(segments)
        self.policy = policy
        self._last: tuple[str, Wave] | None = None

    def __contains__(self, utterance: str) -> bool:
        return utterance in self.segments

    def seconds(self, utterance: str) -> float:
        """Duration by the header alone."""
        segment = self._segment(utterance)
        if segment.end is not None:
            return segment.end - segment.start
        return inspect_audio(self.wav_scp[segment.recording], utterance, self.policy).seconds

    def wave(self, utterance: str) -> Wave:
        """Read one utterance: (S,) float32 at the policy's rate.

        Raises:
            AudioError: the recording cannot be used, or ends before the segment does.
        """
        segment = self._segment(utterance)
        wave_S = self._recording(segment.recording, utterance)
        if segment.end is None:
            return wave_S
        rate = self.policy.sample_rate
        first, last = round(segment.start * rate), round(segment.end * rate)
        # Tools round the end of a recording up, to 10 ms at most.
        if last > len(wave_S) + rate // 100:
            raise AudioError(
                f"utterance {utterance}: segments ends it at {segment.end:g} s, but "
                f"{self.wav_scp[segment.recording]} has {len(wave_S) / rate:g} s; correct segments"
            )
        return wave_S[first:last]

    def _segment(self, utterance: str) -> Segment:
        if utterance not in self.segments:
            raise DataDirError(
                f"utterance {utterance} has no audio: neither wav.scp nor segments names it"
            )
        return self.segments[utterance]

    def _recording(self, recording: str, utterance: str) -> Wave:
        if self._last is None or self._last[0] != recording:
            path = self.wav_scp[recording]
            self._last = (recording, read_audio(path, utterance, self.policy))
        return self._last[1]


def open_recordings(folder: str | Path, policy: AudioPolicy = DEFAULT_POLICY) -> Recordings:
    """Read ``wav.scp`` and, where it is there, ``segments``; no audio is opened.

    Raises:
        DataDirError: lists all problems with file and line.
    """
    source = Path(folder)
    wav_scp = _table(source, "wav.scp")
    problems = [*wav_scp.problems, *_check_files(wav_scp)]
    paths = {key: row.value for key, row in wav_scp.first().items()}
    segments: dict[str, Segment] | None = None
    if (source / "segments").is_file():
        table = _table(source, "segments")
        segments, more = parse_segments(table, paths)
        problems += [*table.problems, *more]
    refuse(source, problems)
    return Recordings(paths, segments, policy)


def parse_segments(
    table: Table, recordings: Iterable[str]
) -> tuple[dict[str, Segment], list[Problem]]:
    """Read ``utterance recording start end`` lines (seconds) and list what is wrong with them."""
    known = set(recordings)
    found: dict[str, Segment] = {}
    problems = []
    for row in table.rows:
        fields = row.value.split()
        try:
            recording, start, end = fields[0], float(fields[1]), float(fields[2])
        except (IndexError, ValueError):
            message = f"{row.key}: expected recording, start and end, not {row.value!r:.60}"
            problems.append(Problem(table.name, row.line, message))
            continue
        if recording not in known:
            message = f"{row.key}: recording {recording} is not in wav.scp"
            problems.append(Problem(table.name, row.line, message))
        if not 0 <= start < end:
            message = f"{row.key}: from {start:g} to {end:g} s is no piece of a recording"
            problems.append(Problem(table.name, row.line, message))
        found[row.key] = Segment(recording, start, end)
    return found, problems


def refuse(source: Path, problems: Iterable[Problem]) -> None:
    """Raise one DataDirError over all problems of a folder, if there is any."""
    listed = list(problems)
    if listed:
        lines = "\n".join(f"  {source}/{problem}" for problem in listed[:20])
        more = f"\n  and {len(listed) - 20} more" if len(listed) > 20 else ""
        raise DataDirError(f"{source}: {len(listed)} problem(s)\n{lines}{more}")


def _table(source: Path, name: str) -> Table:
    if not (source / name).is_file():
        raise DataDirError(f"{source} has no {name}; it is not a Kaldi data folder")
    return read_table(source / name)


def _check_files(table: Table) -> list[Problem]:
    problems = []
    for row in table.rows:
        if row.value.endswith("|"):
            message = f"{row.key} is a command; commands are not run, convert it to a file first"
            problems.append(Problem(table.name, row.line, message))
    return problems
