"""Pseudo-labels by utterance, read from ``labels.jsonl`` when they are asked for.

Millions of labels stay on the disk; memory holds where each line begins.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from espnet_kd.data.pseudo_labels import LABELS, PseudoLabel, parse_label
from espnet_kd.errors import DataDirError


class LabelIndex:
    """The labels of one folder.

    Args:
        folder: holds ``labels.jsonl``, which must not change meanwhile.

    Raises:
        DataDirError: there is no such file.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / LABELS
        self.offsets: dict[str, int] = {}
        if not self.path.is_file():
            raise DataDirError(
                f"{self.path}: no such file; label first (bin.whisper_pseudo_label), or train on "
                "transcripts with kd_conf.use_pseudo_labels: false"
            )

    def scan(self) -> Iterator[PseudoLabel]:
        """All labels in order; each can be read by its id from then on.

        Raises:
            DataDirError: a damaged line, or an id that is there twice.
        """
        self.offsets = {}
        offset = 0
        with self.path.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                where = f"{self.path}:{number}"
                label = _parse(line, where)
                if label.id in self.offsets:
                    raise DataDirError(f"{where}: utterance {label.id} was there before")
                self.offsets[label.id] = offset
                offset += len(line)
                yield label

    def read(self, utterance: str) -> PseudoLabel:
        """The label of one utterance that was scanned."""
        with self.path.open("rb") as stream:
            stream.seek(self.offsets[utterance])
            label = _parse(stream.readline(), f"{self.path}: label of {utterance}")
        if label.id != utterance:
            raise DataDirError(f"{self.path} was changed while it was in use; start again")
        return label


def _parse(line: bytes, where: str) -> PseudoLabel:
    try:
        return parse_label(json.loads(line), where)
    except ValueError as error:
        if isinstance(error, DataDirError):
            raise
        raise DataDirError(f"{where}: not JSON: {error}") from None
