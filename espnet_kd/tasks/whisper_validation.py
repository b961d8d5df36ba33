"""Validation of a Whisper by what it writes: word error rates, normalised and orthographic.

Source: spec whisper.md 4.8. ``wer`` is of normalised texts, without utterances whose reference is
then empty; ``wer_ortho`` is of texts as they are, all utterances. Both are corpus rates in percent;
over several sets ``wer`` is the mean of their rates by numbers of utterances.

Shapes: B batch, E encoder positions, D width, T tokens.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from espnet_kd.errors import DataDirError
from espnet_kd.evaluation.wer import word_error_rates
from espnet_kd.tasks.whisper_labels import Spoken
from espnet_kd.tasks.whisper_options import WhisperDistillConfig
from espnet_kd.utils.files import write_text
from espnet_kd.whisper.generate import TransformersBackend
from espnet_kd.whisper.hypothesis import DecodingOptions
from espnet_kd.whisper.label_text import plain_text
from espnet_kd.whisper.load import WhisperBundle
from espnet_kd.whisper.normalisers import Normaliser, make_normaliser, spelling_of, strip_specials

FOLDER = "validation"
"""Folder of the run with the transcripts of each epoch."""


@dataclass(frozen=True)
class Transcript:
    """What the student wrote for one utterance."""

    id: str
    """Utterance."""

    dataset: str
    """Validation set it belongs to."""

    language: str | None
    """Code; None for an English-only model."""

    reference: str
    """What is said."""

    prediction: str
    """What the student wrote, without special tokens."""


def decoding_options(kd: WhisperDistillConfig, longest: int) -> DecodingOptions:
    """How to decode, with a model that takes ``longest`` tokens."""
    return DecodingOptions(
        max_label_length=kd.generation_max_length or kd.longest_label(longest),
        num_beams=kd.generation_num_beams,
        return_timestamps=kd.return_timestamps,
    )


class Validation:
    """Collects the transcripts of one validation.

    Args:
        bundle: the student.
        kd: how to decode and to normalise.
    """

    def __init__(self, bundle: WhisperBundle, kd: WhisperDistillConfig) -> None:
        self.bundle = bundle
        self.kd = kd
        longest = bundle.model.config.max_target_positions
        self.backend = TransformersBackend.of(bundle, decoding_options(kd, longest))
        self.codes = {token: code for code, token in bundle.specials.languages.items()}
        self.normalisers: dict[str | None, Normaliser] = {}
        self.transcripts: list[Transcript] = []
        self.epoch = 0
        self.folder: Path | None = None

    def start_run(self, output_dir: Path | None) -> None:
        """Real training begins; transcripts are written below ``output_dir``, if there is one.

        Raises:
            MissingDependencyError: the normaliser lacks its table of spellings.
        """
        self.folder = None if output_dir is None else output_dir / FOLDER
        if self.kd.predict_with_generate:
            self._normaliser(self._only_language())

    def check_references(self, dataset: str, spoken: Iterable[Spoken]) -> None:
        """Refuse a set that cannot be scored, before an epoch is trained for it.

        Args:
            dataset: its name.
            spoken: what is said in it; read until one of them has a word.

        Raises:
            DataDirError: none has.
        """
        for one in spoken:
            language = self._language(one.token_ids)
            if self._normaliser(language)(strip_specials(one.reference)).strip():
                return
        raise DataDirError(_no_words(dataset))

    def _language(self, token_ids: Sequence[int]) -> str | None:
        """Code of the language that a prefix names."""
        return self.codes[token_ids[1]] if self.bundle.specials.is_multilingual else None

    def _only_language(self) -> str | None:
        """The language of the run where it is known beforehand."""
        specials = self.bundle.specials
        if self.kd.language is None or not specials.is_multilingual:
            return None
        return specials.language_code(self.kd.language)

    def start(self) -> None:
        """Begin a validation."""
        self.transcripts = []

    def transcribe(
        self,
        utterances: Sequence[str],
        encoder_BED: Tensor,
        tokens_BT: Tensor,
        references: Sequence[str],
        datasets: Sequence[str] | None = None,
    ) -> None:
        """Decode a batch, with the prefix of its labels, and remember the transcripts.

        Args:
            utterances: B ids.
            encoder_BED: encoder states of the student.
            tokens_BT: decoder input of the labels, which begins with the prefix.
            references: B texts.
            datasets: B names of validation sets.
        """
        specials = self.bundle.specials
        length = (3 if specials.is_multilingual else 1) + (not self.kd.return_timestamps)
        prefixes = tokens_BT[:, :length].tolist()
        found = self.backend.generate(encoder_BED, prefixes)
        names = datasets or [""] * len(found)
        for key, name, prefix, reference, hypothesis in zip(
            utterances, names, prefixes, references, found, strict=True
        ):
            language = self._language(prefix)
            text = plain_text(hypothesis.tokens, self.bundle.tokenizer, specials)
            self.transcripts.append(Transcript(key, name, language, reference, text))

    def finish(self) -> dict[str, float]:
        """Rates over the transcripts of all processes, which are written to a file.

        Returns:
            ``wer`` and ``wer_ortho`` in percent, and those of each set where there are several;
            nothing if nothing was transcribed.

        Raises:
            DataDirError: no reference has a word.
        """
        transcripts = sorted(_of_all_processes(self.transcripts), key=lambda t: (t.dataset, t.id))
        if not transcripts:
            return {}
        self._write(transcripts)
        sets: dict[str, list[Transcript]] = {}
        for transcript in transcripts:
            sets.setdefault(transcript.dataset, []).append(transcript)
        rates = {name: self._rates(group) for name, group in sets.items()}
        result = {
            key: sum(rates[name][key] * len(group) for name, group in sets.items())
            / len(transcripts)
            for key in ("wer", "wer_ortho")
        }
        if len(sets) > 1:
            for name, values in rates.items():
                result |= {f"{key}_{name}": value for key, value in values.items()}
        return result

    def _rates(self, group: Sequence[Transcript]) -> dict[str, float]:
        clean = {t.id: self._normalised(t, t.reference) for t in group}
        kept = [t for t in group if clean[t.id]]
        if not kept:
            raise DataDirError(_no_words(group[0].dataset))
        references = {t.id: clean[t.id] for t in kept}
        normalised = word_error_rates(
            references, {t.id: self._normalised(t, t.prediction) for t in kept}
        )
        as_written = word_error_rates(
            {t.id: t.reference for t in group}, {t.id: t.prediction for t in group}
        )
        return {"wer": normalised.error_rate, "wer_ortho": as_written.error_rate}

    def _normalised(self, transcript: Transcript, text: str) -> str:
        return self._normaliser(transcript.language)(strip_specials(text)).strip()

    def _normaliser(self, language: str | None) -> Normaliser:
        if language not in self.normalisers:
            english = self.kd.normaliser == "english" or (
                self.kd.normaliser == "auto" and language in (None, "en")
            )
            spelling = spelling_of(self.bundle.tokenizer) if english else None
            self.normalisers[language] = make_normaliser(self.kd.normaliser, language, spelling)
        return self.normalisers[language]

    def _write(self, transcripts: Sequence[Transcript]) -> None:
        if self.folder is not None:
            lines = [json.dumps(vars(t), ensure_ascii=False) + "\n" for t in transcripts]
            write_text(self.folder / f"{self.epoch}epoch.jsonl", "".join(lines))


def _no_words(dataset: str) -> str:
    return (
        f"validation set {dataset}: no reference has a word after normalisation; give transcripts, "
        "or set predict_with_generate: false"
    )


def _of_all_processes(own: list[Transcript]) -> list[Transcript]:
    """Gathered in every process."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return own
    everyone: list[list[Transcript]] = [[] for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather_object(everyone, own)
    return [transcript for part in everyone for transcript in part]
