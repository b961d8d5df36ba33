"""Utterances as a student sees them: sound, the token sequence of this epoch, batches of both.

Shapes: S samples.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from espnet2.train.dataset import AbsDataset
from torch import Tensor

from espnet_kd.errors import WhisperError
from espnet_kd.tasks.whisper_data import SpeechFolder
from espnet_kd.tasks.whisper_labels import Spoken
from espnet_kd.whisper.collate import collate_tokens
from espnet_kd.whisper.features import log_mel
from espnet_kd.whisper.labels import (
    Draw,
    LabelOptions,
    prepare_label,
    random_draw,
    without_timestamps,
)
from espnet_kd.whisper.load import WhisperBundle
from espnet_kd.whisper.specials import SpecialIds


class Utterances(AbsDataset):
    """The utterances of several folders as ESPnet's data set.

    A key is ``utterance``, or ``number/utterance`` where there are several folders.

    Args:
        folders: what to read.
        prepare: from sound and words to what the collator takes.
    """

    def __init__(self, folders: Sequence[SpeechFolder], prepare: LabelPreparation) -> None:
        self.folders = folders
        self.prepare = prepare

    def keys(self) -> list[list[str]]:
        """Keys of each folder."""
        return [
            [self.key(number, usable.id) for usable in folder.utterances]
            for number, folder in enumerate(self.folders)
        ]

    def key(self, number: int, utterance: str) -> str:
        """Key of an utterance of the ``number``-th folder."""
        return utterance if len(self.folders) == 1 else f"{number}/{utterance}"

    def longest_first(self) -> list[str]:
        """Keys of all folders, those with the longest labels first: little is padded so."""
        entries = [
            (-usable.tokens, self.key(number, usable.id))
            for number, folder in enumerate(self.folders)
            for usable in folder.utterances
        ]
        return [key for _, key in sorted(entries)]

    def has_name(self, name: str) -> bool:
        """Whether a stream of this name is there."""
        return name in self.names()

    def names(self) -> tuple[str, ...]:
        """Streams as ESPnet calls them."""
        return ("speech", "text")

    def __getitem__(self, uid: str) -> tuple[str, dict[str, Any]]:
        folder, utterance = self.folders[0], uid
        if len(self.folders) > 1:
            number, _, utterance = uid.partition("/")
            folder = self.folders[int(number)]
        wave_S = folder.recordings.wave(utterance)
        spoken = folder.labels.read(utterance)
        return uid, {"wave": wave_S, "dataset": folder.name, **self.prepare(uid, spoken)}


class LabelPreparation:
    """Words of one utterance as the token sequence of this epoch.

    Args:
        specials: ids of the special tokens.
        options: probabilities of timestamps and prompts, longest sequence.
        train: False for validation: neither timestamps nor prompts, and the reference comes along.
    """

    def __init__(self, specials: SpecialIds, options: LabelOptions, *, train: bool) -> None:
        self.specials = specials
        self.options = options
        self.train = train

    def __call__(self, uid: str, spoken: Spoken) -> dict[str, Any]:
        """``token_ids``, and ``reference`` in validation."""
        if not self.train:
            return {"token_ids": spoken.token_ids, "reference": spoken.reference}
        prepared = prepare_label(
            spoken.token_ids,
            spoken.prompt_ids,
            _coin(uid),
            self.specials,
            self.options,
            utterance=uid,
        )
        if prepared.kept:
            return {"token_ids": prepared.token_ids}
        # Only a label with timestamps can be too long here; without them it was counted.
        ids = without_timestamps(spoken.token_ids, self.specials)
        if len(ids) > self.options.max_label_length:
            raise WhisperError(
                f"utterance {uid}: a label of {len(ids)} tokens does not fit into "
                f"{self.options.max_label_length}"
            )
        return {"token_ids": ids}


def _coin(uid: str) -> Draw:
    """ESPnet seeds numpy's global generator per epoch and worker, so that a resumed run tosses
    alike; but it seeds all processes alike, whose utterances shall not share their fate.
    """
    seed = int(np.random.randint(2**31))  # noqa: NPY002
    return random_draw(np.random.default_rng([seed, zlib.crc32(uid.encode())]))


class WhisperCollate:
    """Utterances to a batch, with log-mel features of the whole context.

    Args:
        bundle: the student.
        pad_to: longest label to pad to; None = the longest of the batch.
    """

    def __init__(self, bundle: WhisperBundle, pad_to: int | None = None) -> None:
        self.extractor = bundle.feature_extractor
        self.specials = bundle.specials
        self.pad_to = pad_to

    def __call__(
        self, data: Sequence[tuple[str, Mapping[str, Any]]]
    ) -> tuple[list[str], dict[str, Tensor | list[str]]]:
        """Ids and ``input_features``, ``decoder_input_ids``, ``labels``; in validation texts."""
        ids = [uid for uid, _ in data]
        batch: dict[str, Tensor | list[str]] = {
            "input_features": log_mel(self.extractor, [row["wave"] for _, row in data], ids),
            **collate_tokens(
                [row["token_ids"] for _, row in data], self.specials, pad_to=self.pad_to
            ),
        }
        if "reference" in data[0][1]:
            batch["reference"] = [row["reference"] for _, row in data]
            batch["dataset"] = [row["dataset"] for _, row in data]
        return ids, batch
