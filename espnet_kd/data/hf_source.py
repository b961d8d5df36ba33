"""Speech of Hugging Face datasets: saved to disk, a folder of files, or streamed.

The package ``datasets`` is imported when such data is opened. Its own decoding of audio needs
further packages from version 4 on, so rows are asked for as bytes and read like any other file.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from espnet_kd.data.audio import (
    AudioPolicy,
    Wave,
    check_samples,
    inspect_audio,
    read_audio,
    resample,
)
from espnet_kd.data.speech_source import Note, check_length, check_most
from espnet_kd.errors import AudioError, ConfigError, DataDirError, MissingDependencyError
from espnet_kd.whisper.packing import Clip


@dataclass(frozen=True, kw_only=True)
class DatasetOptions:
    """Which dataset and which of its columns; names as in the published command."""

    dataset_name: str
    """Folder that ``save_to_disk`` wrote, folder of audio files, or a name on the hub."""

    dataset_config_name: str | None = None
    """Configuration of a dataset on the hub."""

    dataset_split_name: str = "train"
    """Split."""

    streaming: bool = False
    """Read while it is downloaded; the data is not stored."""

    audio_column_name: str = "audio"
    """Column with the audio."""

    text_column_name: str | None = None
    """Column with references; by default ``text`` or ``sentence`` if there is one."""

    id_column_name: str | None = None
    """Column with ids; by default ``id`` if there is one, else rows are numbered."""

    speaker_id_column_name: str | None = None
    """Column with speakers; by default all rows count as one speaker's (published)."""

    max_samples_per_split: int | None = None
    """Only so many rows."""

    def __post_init__(self) -> None:
        """Check the limit before anything is opened."""
        check_most(self.max_samples_per_split)


class DatasetSource:
    """Rows of one split."""

    def __init__(self, options: DatasetOptions, policy: AudioPolicy) -> None:
        """Open the dataset.

        Raises:
            MissingDependencyError: ``datasets`` is not installed.
            DataDirError: there is no such dataset or split.
            ConfigError: columns that the dataset lacks.
        """
        self.options = options
        self.policy = policy
        self.streamed = options.streaming
        self.name = _words_joined(Path(options.dataset_name).name)
        self._rows = _open(options)
        self._columns = _choose_columns(options, self._rows)
        self.total: int | None = None if self.streamed else self._count()

    def _count(self) -> int:
        return min(len(self._rows), self.options.max_samples_per_split or len(self._rows))

    def clips(self, note: Note) -> Iterator[Clip]:
        """Rows sorted by speaker; streamed rows come as they come."""
        seen: set[str] = set()
        for number, row in self._numbered():
            name = self._id(number, row)
            if name in seen:
                note(name, f"{self._place(number)}: id {name} was there before; ids must differ")
                continue
            seen.add(name)
            try:
                yield self._clip(number, name, row)
            except AudioError as error:
                note(name, str(error))

    def _numbered(self) -> Iterable[tuple[int, Mapping[str, Any]]]:
        if self.streamed:
            rows = itertools.islice(self._rows, self.options.max_samples_per_split)
            return enumerate(rows)
        return ((number, self._rows[number]) for number in self._order())

    def _order(self) -> Sequence[int]:
        column = self.options.speaker_id_column_name
        if column is None:
            return range(self._count())
        speakers = self._rows[column][: self._count()]
        return sorted(range(len(speakers)), key=lambda number: str(speakers[number]))

    def _id(self, number: int, row: Mapping[str, Any]) -> str:
        column = self._columns["id"]
        return f"{self.name}-{number}" if column is None else _words_joined(str(row[column]))

    def _clip(self, number: int, name: str, row: Mapping[str, Any]) -> Clip:
        audio = row[self.options.audio_column_name]
        text, speaker = self._columns["text"], self._columns["speaker"]
        return Clip(
            name,
            self._length(audio, name, number),
            speaker="" if speaker is None else _words_joined(str(row[speaker])),
            text=None if text is None or row[text] is None else str(row[text]),
            where=audio if self.streamed else number,
        )

    def _length(self, audio: Any, name: str, number: int) -> int:
        """Samples after resampling."""
        array = _array(audio)
        if array is not None:
            samples, rate = len(array[0]), array[1]
            if samples * self.policy.sample_rate < self.policy.min_samples * rate:
                raise AudioError(f"utterance {name}: {self._place(number)}: has {samples} samples")
        else:
            path, content = _file(audio, self._place(number), name)
            info = inspect_audio(path, name, self.policy, content=content)
            samples, rate = info.samples, info.sample_rate
        return -(-samples * self.policy.sample_rate // rate)

    def read(self, clip: Clip) -> Wave:
        """Samples of a clip."""
        number = None if self.streamed else clip.where
        audio = clip.where if number is None else self._rows[number][self.options.audio_column_name]
        place = self._place(number)
        span = (clip.start, clip.start + clip.samples) if clip.ranged else None
        array = _array(audio)
        if array is None:
            path, content = _file(audio, place, clip.id)
            wave_S = read_audio(path, clip.id, self.policy, content=content, span=span)
        else:
            wave_S = _of_array(array, clip, place, self.policy)
            wave_S = wave_S if span is None else wave_S[slice(*span)]
        return check_length(wave_S, clip)

    def original(self, clip: Clip) -> str | None:
        """None: the audio lies inside the dataset."""
        return None

    def _place(self, number: int | None) -> str:
        where = f"{self.options.dataset_name}[{self.options.dataset_split_name}]"
        return where if number is None else f"{where} row {number}"


def _words_joined(text: str) -> str:
    """Kaldi's tables separate by spaces, so a name has none."""
    return "_".join(text.split()) or "_"


def _import_datasets() -> Any:
    try:
        import datasets
    except ImportError:
        raise MissingDependencyError(
            "reading Hugging Face datasets needs the package datasets; install it with "
            "`uv pip install 'datasets>=3,<5'` (extra `datasets`), or give a Kaldi folder with "
            "--data_dir"
        ) from None
    return datasets


def _open(options: DatasetOptions) -> Any:
    """The split, with rows that hold files and not decoded audio."""
    datasets = _import_datasets()
    folder = Path(options.dataset_name)
    saved = any((folder / name).is_file() for name in ("state.json", "dataset_dict.json"))
    own_error = datasets.exceptions.DatasetsError
    try:
        rows = _saved(datasets, options) if saved else _loaded(datasets, options)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, own_error) as error:
        # The library wraps what its builders raise, e.g. that a package is missing.
        reason = error.__cause__ or error
        raise DataDirError(
            f"dataset {options.dataset_name}, split {options.dataset_split_name}, cannot be "
            f"opened: {type(reason).__name__}: {reason!s:.300}"
        ) from error
    return _undecoded(datasets, rows, options.audio_column_name)


def _saved(datasets: Any, options: DatasetOptions) -> Any:
    """What ``save_to_disk`` wrote: one split, or a dictionary of them."""
    rows = datasets.load_from_disk(options.dataset_name)
    if isinstance(rows, datasets.DatasetDict):
        rows = rows[options.dataset_split_name]
    return rows.to_iterable_dataset() if options.streaming else rows


def _loaded(datasets: Any, options: DatasetOptions) -> Any:
    """A folder of files or tables, or a dataset on the hub; code of its author is never run."""

    def load(streaming: bool) -> Any:
        return datasets.load_dataset(
            options.dataset_name,
            options.dataset_config_name,
            split=options.dataset_split_name,
            streaming=streaming,
            trust_remote_code=False,
        )

    if not options.streaming and Path(options.dataset_name).is_dir():
        rows = _undecoded(datasets, load(streaming=True), options.audio_column_name)
        audio = [row[options.audio_column_name] for row in itertools.islice(rows, 1)]
        if audio and isinstance(audio[0], Mapping) and audio[0].get("bytes") is None:
            return datasets.Dataset.from_list(list(rows))  # paths: nothing to store elsewhere
    return load(options.streaming)


def _undecoded(datasets: Any, rows: Any, column: str) -> Any:
    """Let an audio column hold path and content of its files."""

    class Files(datasets.Audio):  # type: ignore[misc]
        """As the original, which wants torchcodec even for a path."""

        def encode_example(self, value: Any) -> dict[str, Any]:
            if isinstance(value, Mapping):
                return {"bytes": value.get("bytes"), "path": value.get("path")}
            return {"bytes": None, "path": str(value)}

    if isinstance((rows.features or {}).get(column), datasets.Audio):
        return rows.cast_column(column, Files(decode=False))
    return rows


def _choose_columns(options: DatasetOptions, rows: Any) -> dict[str, str | None]:
    """Columns of ids, references and speakers; those that are not named are used if they exist."""
    present = rows.column_names
    if present is None:  # a stream that does not say: its first row does
        present = list(next(iter(rows)))
    wanted = {
        "audio_column_name": options.audio_column_name,
        "text_column_name": options.text_column_name,
        "id_column_name": options.id_column_name,
        "speaker_id_column_name": options.speaker_id_column_name,
    }
    problems = [
        f"{name} is {column!r}, which the dataset lacks; it has {', '.join(present)}"
        for name, column in wanted.items()
        if column is not None and column not in present
    ]
    if problems:
        raise ConfigError(f"dataset {options.dataset_name}", problems)
    guessed = (name for name in ("text", "sentence") if name in present)
    return {
        "text": options.text_column_name or next(guessed, None),
        "id": options.id_column_name or ("id" if "id" in present else None),
        "speaker": options.speaker_id_column_name,
    }


def _array(audio: Any) -> tuple[Any, int] | None:
    """Samples and rate of a decoded row; None if the row holds a file."""
    if isinstance(audio, Mapping) and audio.get("array") is not None:
        return audio["array"], int(audio["sampling_rate"])
    return None


def _of_array(array: tuple[Any, int], clip: Clip, place: str, policy: AudioPolicy) -> Wave:
    wave_S = np.asarray(array[0], dtype=np.float32)
    if wave_S.ndim != 1:
        raise AudioError(
            f"utterance {clip.id}: {place}: the samples have shape {wave_S.shape}; one channel is "
            "needed"
        )
    check_samples(wave_S, clip.id, place)
    if array[1] == policy.sample_rate:
        return wave_S
    if policy.rate_policy == "error":
        raise AudioError(
            f"utterance {clip.id}: {place}: is sampled at {array[1]} Hz, {policy.sample_rate} Hz "
            "is needed; resample it (--rate_policy resample)"
        )
    return resample(wave_S, array[1], policy.sample_rate)


def _file(audio: Any, place: str, name: str) -> tuple[str, bytes | None]:
    """Path and, unless it lies on this disk, content of a row's file."""
    held = audio if isinstance(audio, Mapping) else {}
    path = str(audio if isinstance(audio, str | Path) else held.get("path") or "")
    content: bytes | None = audio if isinstance(audio, bytes) else held.get("bytes")
    if content:
        return f"{place} ({path})" if path else place, content
    if not path:
        raise AudioError(f"utterance {name}: {place}: has no audio; leave it out")
    if "://" not in path:
        return path, None
    import fsspec  # comes with datasets

    try:
        with fsspec.open(path, "rb") as stream:
            return path, stream.read()
    except OSError as error:
        raise AudioError(f"utterance {name}: {path}: cannot be fetched: {error}") from error
