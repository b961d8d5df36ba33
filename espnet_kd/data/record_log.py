"""Records that are written as soon as they are known, and found again by a run that goes on."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from espnet_kd.data.label_shards import append, mend, read_rows
from espnet_kd.errors import CheckpointError, KDError
from espnet_kd.utils.files import write_json
from espnet_kd.utils.model_directory import read_json

_LOG = logging.getLogger(__name__)


class RecordLog:
    """An append-only JSON Lines file of records with an ``id``.

    Args:
        path: the file; a last line that a kill tore is cut off.
        settings: what the records depend on; with other ones, the earlier records are put aside
            as ``.old.jsonl``. They are kept beside the file, as ``.settings.json``.

    Raises:
        DataDirError: the file is damaged.
        KDError: it cannot be written.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path = path
        self.records: dict[str, dict[str, Any]] = {}
        """Id to its last record."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._settle(path.with_suffix(".settings.json"), settings)
            path.touch()
        except OSError as error:
            raise KDError(f"cannot write {path}: {error.strerror}") from error
        mend(path)
        for _, record in read_rows(path):
            self.records[record["id"]] = record

    def append(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Write records behind the others, down to the disk."""
        new = [dict(record) for record in records]
        append(self.path, new)
        self.records |= {record["id"]: record for record in new}

    def _settle(self, file: Path, settings: Mapping[str, Any]) -> None:
        wanted = json.loads(json.dumps(settings, default=str))
        try:
            same = file.is_file() and read_json(file) == wanted
        except CheckpointError:
            same = False  # torn: as if it were not there
        if not same:
            self._put_aside()
            write_json(file, wanted)

    def _put_aside(self) -> None:
        """They may be the work of hours, and the new settings a slip."""
        if self.path.exists() and self.path.stat().st_size:
            old = self.path.with_suffix(".old.jsonl")
            self.path.replace(old)
            _LOG.warning(f"{self.path} is of other models, data or options; it is {old} now")
