"""Intent classification: the folders and tables of Fluent Speech Commands.

``data/{train,valid,test}_data.csv`` has the columns (index), path, speakerId, transcription,
action, object, location; recordings lie in ``wavs/speakers/SPEAKER/``. Synthetic voices say
sentences such as "turn on the lights in the kitchen"; of recorded digits, three stand for action
(zero to three), object (four to six) and location (seven to nine).
"""

from __future__ import annotations

import csv
import io

from espnet_kd.data.recording import write_audio
from espnet_kd.data.superb_job import SPLITS, LayoutJob
from espnet_kd.utils.files import write_text

COLUMNS = ("", "path", "speakerId", "transcription", "action", "object", "location")
"""Head of the tables; the index column has no name."""

_NAMES = {"train": "train", "dev": "valid", "test": "test"}


def write_intents(job: LayoutJob) -> None:
    """Write recordings and tables of all splits; the training part has every value of a slot."""
    for split in SPLITS:
        _write_split(job, split)


def _write_split(job: LayoutJob, split: str) -> None:
    commands = job.talker.grammar.commands
    rows: list[tuple[object, ...]] = []
    for speaker in job.speakers(split):
        name = job.talker.name(speaker)
        for index in range(job.utterances(split)):
            # Counted over the split: every command comes before any comes again.
            command = commands[len(rows) % len(commands)]
            path = f"wavs/speakers/{name}/{name}-{split}-{index:04d}.wav"
            write_audio(job.root / path, job.talker.utterance(speaker, command.text, split))
            meaning = (command.action, command.object, command.location)
            rows.append((len(rows), path, name, command.text, *meaning))
    write_text(job.root / "data" / f"{_NAMES[split]}_data.csv", _table(rows))


def _table(rows: list[tuple[object, ...]]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerows([COLUMNS, *rows])
    return text.getvalue()
