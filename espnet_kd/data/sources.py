"""The one place that knows where transcribed speech may come from: ``KIND:PLACE`` -> a source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from espnet_kd.data.audio import AudioPolicy
from espnet_kd.data.hf_source import DatasetOptions, DatasetSource
from espnet_kd.data.speech_source import KaldiSource, SpeechSource
from espnet_kd.data.speech_tables import KNOWN, TableSource, common_voice_table
from espnet_kd.errors import ConfigError, DataDirError

FORMS = {
    "kaldi": "kaldi:DIR or kaldi:DIR@SPLIT (the folder DIR/SPLIT)",
    "table": "table:FILE (.tsv or .csv beside its audio)",
    "commonvoice": "commonvoice:DIR@SPLIT (an unpacked release)",
    "dataset": "dataset:NAME@SPLIT or dataset:NAME#CONFIG@SPLIT (saved, or on the hub)",
}
"""Kind -> how it is written."""

_DATASET_COLUMNS = {
    "audio": "audio_column_name",
    "text": "text_column_name",
    "id": "id_column_name",
    "speaker": "speaker_id_column_name",
}


@dataclass(frozen=True)
class Place:
    """A parsed ``KIND:PLACE``."""

    kind: str
    """A key of :data:`FORMS`."""

    name: str
    """Folder, file, or name of a dataset."""

    config: str = ""
    """Configuration of a dataset on the hub."""

    split: str = ""
    """Which part of it."""


def parse_place(text: str) -> Place:
    """Read ``KIND:PLACE``.

    Raises:
        ConfigError: unknown kind, or a part is missing.
    """
    kind, _, rest = text.partition(":")
    if kind not in FORMS or not rest:
        raise ConfigError(f"source {text!r}", [f"write {form}" for form in FORMS.values()])
    name, config, split = rest, "", ""
    if kind != "table":
        name, _, split = rest.partition("@")
    if kind == "dataset":
        name, _, config = name.partition("#")
    if not name or (kind in ("commonvoice", "dataset") and not split):
        raise ConfigError(f"source {text!r}", [f"write {FORMS[kind]}"])
    return Place(kind, name, config, split)


def open_source(
    text: str,
    policy: AudioPolicy,
    *,
    language: str = "",
    columns: Mapping[str, str] | None = None,
) -> SpeechSource:
    """Open one source.

    Args:
        text: as in :data:`FORMS`.
        policy: what an acceptable recording is.
        language: whose folder of a Common Voice release is meant.
        columns: role (audio, text, speaker, start, end, id) -> name of its column.

    Raises:
        ConfigError: it cannot be parsed, or names a role that its kind does not have.
        DataDirError: it is not there, or is damaged.
        MissingDependencyError: a dataset without the package ``datasets``.
    """
    place, given = parse_place(text), columns or {}
    roles: tuple[str, ...] = {"kaldi": (), "dataset": tuple(_DATASET_COLUMNS)}.get(
        place.kind, tuple(KNOWN)
    )
    unknown = sorted(given.keys() - set(roles))
    if unknown:
        known = ", ".join(roles) or "none"
        raise ConfigError(
            f"source {text!r}", [f"it has no column for {', '.join(unknown)} (known: {known})"]
        )
    if place.kind == "kaldi":
        return KaldiSource(Path(place.name) / place.split, policy)
    if place.kind == "dataset":
        return _open_dataset(place, policy, given)
    table = Path(place.name)
    if place.kind == "commonvoice":
        table = common_voice_table(table, place.split, language)
    return TableSource(table, policy, columns=given)


def _open_dataset(place: Place, policy: AudioPolicy, columns: Mapping[str, str]) -> SpeechSource:
    named: dict[str, Any] = {_DATASET_COLUMNS[role]: name for role, name in columns.items()}
    options = DatasetOptions(
        dataset_name=place.name,
        dataset_config_name=place.config or None,
        dataset_split_name=place.split,
        **named,
    )
    try:
        return DatasetSource(options, policy)
    except DataDirError as error:
        raise DataDirError(
            f"{error}. If it asks for a login, accept its terms on its page and run `hf auth "
            "login`; if it comes with a loading script, that is never run here: download the "
            "corpus and give its folder (commonvoice:, table: or kaldi:)"
        ) from error
